"""Keys: the administrator names an owner and what the key allows, rotates it, revokes it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from api.authentication import AdministratorOnly
from api.deps import DatabaseDep, Id, JsonBody, NoBody
from api.field_errors import body_of, checked
from services import api_keys
from services.api_keys import BY_DEFAULT, SCOPES, KeyState, Scope
from services.db.tables import ApiKeyRow

router = APIRouter(prefix="/keys", tags=["keys"], dependencies=[AdministratorOnly])


class NewKey(BaseModel):
    """Whose experiments and datasets the key's will be, what it allows, and for how long."""

    model_config = ConfigDict(extra="forbid")

    owner: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]*$")]
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=len(SCOPES))] = list(BY_DEFAULT)
    days: Annotated[float, Field(gt=0, le=36500)] | None = None
    """Until it expires; null for never."""


class KeyInfo(BaseModel):
    """What is known of a key; not the key."""

    owner: str
    scopes: list[Scope]
    state: KeyState
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None

    @classmethod
    def of(cls, row: ApiKeyRow) -> KeyInfo:
        """Shape a row."""
        return cls(**_fields(row))


class Key(KeyInfo):
    """A key, shown this once."""

    key: str


@router.get("")
def listing(database: DatabaseDep) -> list[KeyInfo]:
    """List the keys by owner, also those that have expired or were revoked."""
    with database.transaction() as session:
        return [KeyInfo.of(row) for row in api_keys.listing(session)]


@router.post("", status_code=201, openapi_extra=body_of(NewKey, {"owner": "ada", "scopes": ["submit"], "days": 90}))
def issue(body: JsonBody, database: DatabaseDep) -> Key:
    """Issue the key of an owner, which only its hash remembers."""
    wanted = checked(NewKey, body)
    return database.run(lambda session: _shown(*api_keys.issue(session, wanted.owner, set(wanted.scopes), wanted.days)))


@router.post("/{owner}/rotate")
def rotate(owner: Id, _: NoBody, database: DatabaseDep) -> Key:
    """Replace an owner's key by another of the same scopes and lifetime; the one before ends at once."""
    return database.run(lambda session: _shown(*api_keys.rotate(session, owner)))


@router.post("/{owner}/revoke")
def revoke(owner: Id, _: NoBody, database: DatabaseDep) -> KeyInfo:
    """End an owner's key at once; experiments and datasets stay theirs."""
    return database.run(lambda session: KeyInfo.of(api_keys.revoke(session, owner)))


def _shown(row: ApiKeyRow, key: str) -> Key:
    return Key(**_fields(row), key=key)


def _fields(row: ApiKeyRow) -> dict[str, object]:
    names = ("owner", "scopes", "created_at", "expires_at", "revoked_at")
    return {name: getattr(row, name) for name in names} | {"state": api_keys.state_of(row)}
