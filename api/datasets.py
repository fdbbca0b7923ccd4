"""Datasets: register a folder of clips and its lists, look them up."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from api.authentication import DatasetsCallerDep
from api.deps import DatabaseDep, Id, JsonBody
from api.field_errors import body_of, checked
from services import registry
from services.datasets.layouts import Layout

router = APIRouter(prefix="/datasets", tags=["datasets"])

Folder = Annotated[str, Field(min_length=1, max_length=4096, pattern=r"^/[^\x00]*$")]
"""An absolute path."""


class NewDataset(BaseModel):
    """A folder of clips laid out as `<Class>/<clip>.avi`, and the folder of its lists, as the workers see them."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    root: Folder
    annotations: Folder
    layout: Layout = "ucf101"
    """Of the lists: UCF101's (`classInd.txt`, `trainlist01.txt`, ...) or HMDB51's (`<class>_test_split1.txt`, ...)."""
    splits: Annotated[frozenset[Annotated[int, Field(ge=1, le=3)]], Field(min_length=1, max_length=3)] = frozenset(
        {1, 2, 3}
    )
    """Numbers of the splits that have lists; the leaderboard's mean is over all of them."""
    replace: bool = False
    """Registers an existing name anew as its next revision, so that changed files are read again."""


class Dataset(BaseModel):
    """A registered dataset; its classes and clips are counted when its `index` stage has run."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    owner: str
    layout: str
    root: str
    annotations: str
    revision: int
    num_classes: int | None
    num_clips: int | None
    splits: list[int]
    created_at: datetime


@router.get("")
def listing(database: DatabaseDep) -> list[Dataset]:
    """List all datasets by name."""
    with database.transaction() as session:
        return [Dataset.model_validate(row) for row in registry.listing(session)]


@router.get("/{name}")
def detail(name: Id, database: DatabaseDep) -> Dataset:
    """Return one dataset."""
    with database.transaction() as session:
        return Dataset.model_validate(registry.get(session, name))


@router.post("", status_code=201, openapi_extra=body_of(NewDataset))
def add(caller: DatasetsCallerDep, body: JsonBody, database: DatabaseDep, response: Response) -> Dataset:
    """Register a dataset; a name that is taken needs `replace`, which makes its next revision: its owner may."""
    wanted = checked(NewDataset, body)
    with database.transaction() as session:
        answer = Dataset.model_validate(registry.add(session, **wanted.model_dump(), caller=caller))
    response.headers["Location"] = f"/datasets/{answer.name}"
    return answer
