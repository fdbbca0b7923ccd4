"""What is said of an experiment after it was submitted: name, tags, note, archive; withdrawn, reinstated, deleted."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from api.authentication import SubmitterDep
from api.deps import DatabaseDep, Id, JsonBody, NoBody
from api.field_errors import body_of, checked
from api.shapes import Experiment
from services.db.engine import Session
from services.db.tables import ExperimentRow
from services.queue import edits, experiments, removal
from services.texts import LINES, ONE_LINE, Title

router = APIRouter(prefix="/experiments", tags=["experiments"])

TAG = r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,49}"
Tag = Annotated[str, Field(pattern=f"^{TAG}$")]
Tags = Annotated[list[Tag], Field(max_length=edits.MOST_TAGS)]


class TagChanges(BaseModel):
    """Tags to add and to remove: letters, digits and `._:/@+-`, 1 to 50 characters each. Added is what is in both."""

    model_config = ConfigDict(extra="forbid")

    add: Tags = []
    remove: Tags = []


class Changes(BaseModel):
    """Changes of an experiment; what is left out or null stays as it is.

    Attributes:
        note: beside it, up to 2000 characters; an empty one removes it.
        archived: whether lists leave it out.
        edits: of the experiment as the caller knows it; 409 if it was edited since.
    """

    model_config = ConfigDict(extra="forbid")

    name: Title | None = None
    tags: TagChanges | None = None
    note: Annotated[str, Field(max_length=2000, pattern=LINES)] | None = None
    archived: bool | None = None
    edits: Annotated[int, Field(ge=0, lt=2**31)] | None = None


class WithdrawalReason(BaseModel):
    """Why an experiment is to stand on no leaderboard; the boards show it."""

    model_config = ConfigDict(extra="forbid")

    reason: Annotated[str, Field(min_length=1, max_length=500, pattern=ONE_LINE)]


class DeletedExperiment(BaseModel):
    """What is left of an experiment."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    name: str
    deleted_by: str
    deleted_at: datetime


@router.patch(
    "/{experiment_id}",
    openapi_extra=body_of(Changes, {"tags": {"add": ["baseline"]}, "note": "compare with width 512"}),
)
def edit(experiment_id: Id, caller: SubmitterDep, body: JsonBody, database: DatabaseDep) -> Experiment:
    """Rename an experiment of one's own, tag it, write a note beside it, archive it.

    Tags are added and removed, so that two who tag at once lose nothing. Its spec stays as it was submitted.
    """
    wanted = checked(Changes, body)
    changes = wanted.tags or TagChanges()
    change = edits.Edit(wanted.name, wanted.note, wanted.archived, changes.add, changes.remove, wanted.edits)
    return database.run(lambda session: _shown(session, edits.edit(session, experiment_id, change, caller)))


@router.delete("/{experiment_id}")
def delete(experiment_id: Id, caller: SubmitterDep, _: NoBody, database: DatabaseDep) -> DeletedExperiment:
    """Delete a finished experiment of one's own, with its results; stages stay for who shares them.

    An experiment that others have as a member, or whose weights they start from, is not deleted before those.
    """
    return database.run(
        lambda session: DeletedExperiment.model_validate(removal.delete(session, experiment_id, caller))
    )


@router.post(
    "/{experiment_id}/withdraw",
    openapi_extra=body_of(WithdrawalReason, {"reason": "trained on clips of the test list"}),
)
def withdraw(experiment_id: Id, caller: SubmitterDep, body: JsonBody, database: DatabaseDep) -> Experiment:
    """Withdraw an experiment of one's own from the leaderboards, which show the reason."""
    reason = checked(WithdrawalReason, body).reason
    return database.run(lambda session: _shown(session, edits.withdraw(session, experiment_id, reason, caller)))


@router.post("/{experiment_id}/reinstate")
def reinstate(experiment_id: Id, caller: SubmitterDep, _: NoBody, database: DatabaseDep) -> Experiment:
    """Take a withdrawal back: the boards rank the experiment again."""
    return database.run(lambda session: _shown(session, edits.reinstate(session, experiment_id, caller)))


def _shown(session: Session, row: ExperimentRow) -> Experiment:
    return Experiment.of(row, experiments.counts(session, [row.id])[row.id])
