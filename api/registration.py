"""A finished system as a version of a registered model in MLflow."""

from __future__ import annotations

from typing import Annotated, Any, Self

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict

from api.authentication import SubmitterDep
from api.deps import BackendDep, Id, NoBody
from services.tracking import register as registry

router = APIRouter(prefix="/experiments", tags=["experiments"])


class Registered(BaseModel):
    """A version of the registered model of a dataset and stream.

    Attributes:
        version: its number there.
        created: whether this request made it; else it was there.
        value: the top-1 accuracy of this split and seed, 0 to 1.
        alias: that the best version of a split has among those of one protocol.
        best: whether this one has it.
        reason: why not, if not.
        page: where MLflow shows it.
    """

    model_config = ConfigDict(from_attributes=True)

    name: str
    version: int
    created: bool
    experiment: str
    split: int
    seed: int
    stream: str
    value: float | None
    protocol: str
    alias: str
    best: bool
    reason: str | None
    page: str

    @classmethod
    def of(cls, found: registry.Registered) -> Self:
        """Shape a version."""
        return cls.model_validate(found)


MADE: dict[int | str, dict[str, Any]] = {201: {"model": Registered, "description": "a new version"}}


@router.post("/{experiment_id}/register", responses=MADE)
def register(
    *,
    experiment_id: Id,
    caller: SubmitterDep,
    _: NoBody,
    backend: BackendDep,
    response: Response,
    split: Annotated[int | None, Query(ge=1, le=3)] = None,
    seed: Annotated[int | None, Query(ge=0, lt=2**31)] = None,
) -> Registered:
    """Register one's own finished system in MLflow: the first split and seed where none is given; again it is the same.

    The version is of the model of its dataset and stream, and has an alias where it is the best of its split.
    """
    found = registry.register(backend.settings, backend.database, caller, experiment_id, split=split, seed=seed)
    response.status_code = 201 if found.created else 200
    return Registered.of(found)
