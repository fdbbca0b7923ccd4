"""Keys: the administrator names an owner, who may then submit."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from api.authentication import AdministratorOnly
from api.deps import DatabaseDep, JsonBody
from api.field_errors import body_of, checked
from services import api_keys

router = APIRouter(prefix="/keys", tags=["keys"], dependencies=[AdministratorOnly])


class NewKey(BaseModel):
    """Whose experiments the key's will be."""

    model_config = ConfigDict(extra="forbid")

    owner: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]*$")]


class Key(BaseModel):
    """A key, shown this once."""

    owner: str
    key: str


@router.post("", status_code=201, openapi_extra=body_of(NewKey))
def issue(body: JsonBody, database: DatabaseDep) -> Key:
    """Issue the key of an owner, which only its hash remembers."""
    wanted = checked(NewKey, body)
    with database.transaction() as session:
        return Key(owner=wanted.owner, key=api_keys.issue(session, wanted.owner))
