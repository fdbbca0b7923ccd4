"""Callers and their rights: bearer tokens, or on loopback without a token the local user.

401 answers whoever is not known: no token, a wrong one, one that has expired or was revoked. 403 answers whoever is
known and may not.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi.security.utils import get_authorization_scheme_param
from starlette.concurrency import run_in_threadpool

from api.deps import Backend, BackendDep, SettingsDep
from services import api_keys
from services.api_keys import ADMINISTRATOR, LOCAL, Caller, Scope
from services.db.engine import Database
from services.settings import Settings

bearer = HTTPBearer(auto_error=False, description="the administrator's token, or a key that `POST /keys` issued")
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]


def _with(scope: Scope) -> Callable[[Backend, HTTPAuthorizationCredentials | None], Awaitable[Caller]]:
    """Return the dependency of routes that need a scope: it answers 401, 403, or tells the route who calls."""

    async def caller(backend: BackendDep, credentials: Credentials) -> Caller:
        found = await _identified(backend, credentials.credentials if credentials else None)
        found.require(scope)
        return found

    return caller


SubmitterDep = Annotated[Caller, Depends(_with("submit"))]
DatasetsCallerDep = Annotated[Caller, Depends(_with("datasets"))]
StewardOnly = Depends(_with("administrator"))
"""For routes that touch what belongs to all: open where nobody is asked for a token, else the administrator's."""


async def _require_administrator(settings: SettingsDep, _: Annotated[Caller, StewardOnly]) -> None:
    """Answer 403 where no administrator's token is set: a key would open nothing."""
    if settings.api_token is None:
        raise HTTPException(403, "keys need an administrator: start the API with TWOSTREAM_API_TOKEN set")


async def require_reader(request: Request, backend: BackendDep) -> None:
    """Ask for a token to read where the setting wants it."""
    if backend.settings.read_requires_token and request.method == "GET":
        scheme, token = get_authorization_scheme_param(request.headers.get("Authorization"))
        (await _identified(backend, token if scheme.lower() == "bearer" else None)).require("read")


AdministratorOnly = Depends(_require_administrator)
Reader = Depends(require_reader)


async def _identified(backend: Backend, token: str | None) -> Caller:
    """Return who sends a token, or answer 401."""
    if backend.settings.api_token is None:
        return LOCAL
    if not token:
        raise _unauthorized("this needs a token: send `Authorization: Bearer <token>`")
    if _is_administrator(backend.settings, token):
        return ADMINISTRATOR
    found = await run_in_threadpool(_find, backend.database, token)
    if found is None:
        raise _unauthorized("the token is neither the administrator's nor one that was issued")
    if found.state != "valid":
        raise _unauthorized(f"the key of {found.caller.name!r} is {found.state}")
    return found.caller


def _is_administrator(settings: Settings, token: str) -> bool:
    assert settings.api_token is not None
    return secrets.compare_digest(token.encode(), settings.api_token.get_secret_value().encode())


def _find(database: Database, key: str) -> api_keys.Found | None:
    with database.transaction() as session:
        return api_keys.find(session, key)


def _unauthorized(detail: str) -> HTTPException:
    return HTTPException(401, detail, headers={"WWW-Authenticate": "Bearer"})
