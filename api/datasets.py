"""Datasets: register a folder of clips and its lists, look them up."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Self

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from api.authentication import DatasetsCallerDep
from api.deps import DatabaseDep, Id, JsonBody
from api.field_errors import body_of, checked
from services import registry
from services.datasets.checkup import Checkup
from services.datasets.layouts import Layout
from services.db.engine import Session
from services.db.tables import DatasetCheckRow, DatasetRow

router = APIRouter(prefix="/datasets", tags=["datasets"])

Folder = Annotated[str, Field(min_length=1, max_length=4096, pattern=r"^/[^\x00]*$")]
"""An absolute path."""
Listed = Annotated[str, Field(min_length=3, max_length=500, pattern=r"^[^/]+/[^/]+$")]
MAX_EXCLUDED = 5000


class NewDataset(BaseModel):
    """A folder of clips laid out as `<Class>/<clip>.avi`, and the folder of its lists, as the workers see them."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    root: Folder
    annotations: Folder
    layout: Layout = "ucf101"
    """Of the lists: UCF101's (`classInd.txt`, `trainlist01.txt`, ...) or HMDB51's (`<class>_test_split1.txt`, ...)."""
    splits: Annotated[frozenset[Annotated[int, Field(ge=1, le=3)]], Field(min_length=1, max_length=3)] | None = None
    """Over all of these the leaderboard's mean is taken. When none is named, it is those that have lists, or 1 to 3
    where the API does not see the lists."""
    exclude: Annotated[list[Listed], Field(max_length=MAX_EXCLUDED)] = []
    """Clips to leave out, as the lists name them: `<Class>/<clip>.avi`. They are part of what the revision is."""
    boxes: Annotated[str, Field(max_length=4096, pattern=r"^(/[^\x00]*)?$")] = ""
    """File of the boxes of UCF101-24, `pyannot.pkl` or `UCF101v2-GT.pkl`, as the workers see it: what networks with
    attention localise is measured by it."""
    replace: bool = False
    """Registers an existing name anew as its next revision, so that changed files are read again."""


NEW = {"name": "ucf101", "root": "/data/UCF-101", "annotations": "/data/ucfTrainTestlist"}
SEEN = {
    **dict.fromkeys(("excluded", "interlaced", "turned", "mirrored"), 0),
    "revision": 1,
    "classes": 2,
    "clips": 4,
    "present": 3,
    "frames": 90,
    "decoder": "PyAV",
    "counts": {"sizes": {"320x240": 3}},
    "findings": {"missing": {"count": 1, "first": ["Jump/v_Jump_g02_c01.avi"]}},
}
"""Bodies to try."""


class Dataset(BaseModel):
    """A registered dataset; its classes and clips are counted when the API or its `index` stage reads its lists."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    owner: str
    layout: str
    root: str
    annotations: str
    revision: int
    excluded: list[str]
    boxes: str
    num_classes: int | None
    num_clips: int | None
    splits: list[int]
    created_at: datetime


class NewCheck(Checkup):
    """What the doctor found in a revision of a dataset."""

    revision: Annotated[int, Field(ge=1, lt=2**31)]


class DatasetCheck(Checkup):
    """What the doctor found in a revision of a dataset when somebody let it look last.

    Attributes:
        healthy: no clip is missing or broken, and no group of clips is on both sides of a split.
    """

    revision: int
    healthy: bool
    checked_by: str
    checked_at: datetime

    @classmethod
    def of(cls, row: DatasetCheckRow) -> Self:
        """Shape a row of the table of checks."""
        found = Checkup.model_validate(row.found)
        said = {"revision": row.revision, "checked_by": row.checked_by, "checked_at": row.checked_at}
        return cls(**found.model_dump(), healthy=found.is_healthy, **said)


class DatasetDetail(Dataset):
    """A dataset, and what the doctor found in the latest revision that it has seen; null if it has seen none."""

    check: DatasetCheck | None = None

    @classmethod
    def of(cls, session: Session, row: DatasetRow) -> Self:
        """Shape a row of the table of datasets."""
        found, seen = cls.model_validate(row), registry.latest_check(session, row.name)
        found.check = None if seen is None else DatasetCheck.of(seen)
        return found


@router.get("")
def listing(database: DatabaseDep) -> list[Dataset]:
    """List all datasets by name."""
    with database.transaction() as session:
        return [Dataset.model_validate(row) for row in registry.listing(session)]


@router.get("/{name}")
def detail(name: Id, database: DatabaseDep) -> DatasetDetail:
    """Return one dataset, with what the doctor has found in it."""
    with database.transaction() as session:
        return DatasetDetail.of(session, registry.get(session, name))


@router.post("", status_code=201, openapi_extra=body_of(NewDataset, NEW))
def add(caller: DatasetsCallerDep, body: JsonBody, database: DatabaseDep, response: Response) -> DatasetDetail:
    """Register a dataset; a name that is taken needs `replace`, which makes its next revision: its owner may.

    Lists that the API can see are read at once: what is wrong with them is told here, not by the `index` stage.
    """
    wanted = checked(NewDataset, body)
    lists = registry.look(wanted.layout, wanted.annotations, wanted.exclude)
    digest = registry.look_at_boxes(wanted.boxes)
    fields = {**wanted.model_dump(), "lists": lists, "boxes_digest": digest}
    answer = database.run(lambda session: DatasetDetail.of(session, registry.add(session, **fields, caller=caller)))
    response.headers["Location"] = f"/datasets/{answer.name}"
    return answer


@router.post("/{name}/check", openapi_extra=body_of(NewCheck, SEEN))
def check(name: Id, caller: DatasetsCallerDep, body: JsonBody, database: DatabaseDep) -> DatasetCheck:
    """Keep what the doctor found in a revision of a dataset, as `twostream dataset check` sends it: its owner may.

    What was found in the same revision before is replaced.
    """
    wanted = checked(NewCheck, body)
    found = Checkup.model_validate(wanted.model_dump(exclude={"revision"}))
    return database.run(
        lambda session: DatasetCheck.of(registry.note_check(session, name, wanted.revision, found, caller))
    )
