"""Who writes: bearer tokens beyond loopback, nobody in particular on it."""

from __future__ import annotations

import secrets
from typing import Annotated

from fastapi import Depends, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.concurrency import run_in_threadpool

from api.deps import BackendDep, SettingsDep
from services import api_keys
from services.api_keys import ADMINISTRATOR, LOCAL, Caller
from services.db.engine import Database
from services.settings import Settings

bearer = HTTPBearer(auto_error=False, description="the administrator's token, or a key that `POST /keys` issued")
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]


async def _caller(backend: BackendDep, credentials: Credentials) -> Caller:
    """Return who calls a route that writes, or answer 401."""
    if backend.settings.api_token is None:
        return LOCAL
    if credentials is None:
        raise _unauthorized("this needs a token: send `Authorization: Bearer <token>`")
    if _is_administrator(backend.settings, credentials.credentials):
        return ADMINISTRATOR
    owner = await run_in_threadpool(_owner_of, backend.database, credentials.credentials)
    if owner is None:
        raise _unauthorized("the token is neither the administrator's nor one that was issued")
    return Caller(owner)


async def _administrator(settings: SettingsDep, credentials: Credentials) -> None:
    """Answer 403 where no administrator's token is set, and 401 to anyone who does not send it."""
    if settings.api_token is None:
        raise HTTPException(403, "keys need an administrator: start the API with TWOSTREAM_API_TOKEN set")
    if credentials is None or not _is_administrator(settings, credentials.credentials):
        raise _unauthorized("this needs the administrator's token")


async def _steward(settings: SettingsDep, credentials: Credentials) -> None:
    """Answer 401 to anyone but the administrator, where a token is set."""
    if settings.api_token is not None:
        await _administrator(settings, credentials)


CallerDep = Annotated[Caller, Depends(_caller)]
AdministratorOnly = Depends(_administrator)
StewardOnly = Depends(_steward)
"""For routes that touch what belongs to all: open where nobody is asked for a token, else the administrator's."""


def _is_administrator(settings: Settings, token: str) -> bool:
    assert settings.api_token is not None
    return secrets.compare_digest(token.encode(), settings.api_token.get_secret_value().encode())


def _owner_of(database: Database, key: str) -> str | None:
    with database.transaction() as session:
        return api_keys.owner_of(session, key)


def _unauthorized(detail: str) -> HTTPException:
    return HTTPException(401, detail, headers={"WWW-Authenticate": "Bearer"})
