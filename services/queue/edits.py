"""What people say of an experiment after it was submitted: name, tags, note, that it is archived or withdrawn.

Two who tag at once lose nothing: tags are added and removed under a lock. Who must not overwrite another's note says
how many edits there were when it was read.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, update
from sqlalchemy.orm import Session

from services.api_keys import Caller
from services.board import resting, withdrawal
from services.db.tables import ExperimentRow, ResultRow
from services.errors import Conflict, InvalidRequest
from services.journal import events, outbox
from services.queue import experiments

MOST_TAGS = 50
"""That an experiment has."""


@dataclass(frozen=True)
class Edit:
    """Changes of an experiment; what is None stays.

    Attributes:
        name: by which people know it.
        note: of some lines; an empty one is none.
        archived: whether everyday lists leave it out.
        add: tags.
        remove: tags; those that it lacks are no fault.
        edits: how often it was edited when the caller looked; None where that is not asked.
    """

    name: str | None = None
    note: str | None = None
    archived: bool | None = None
    add: Collection[str] = ()
    remove: Collection[str] = ()
    edits: int | None = None


def edit(session: Session, experiment_id: str, wanted: Edit, caller: Caller) -> ExperimentRow:
    """Change an experiment; what is so already changes nothing and is told to nobody.

    Raises:
        NotFound: no such experiment.
        Forbidden: it belongs to another user.
        Conflict: somebody has edited it since.
        InvalidRequest: it would have too many tags.
    """
    row = experiments.lock_owned(session, experiment_id, caller)
    if wanted.edits is not None and wanted.edits != row.edits:
        raise Conflict(
            f"experiment {experiment_id} was edited since: edits is {row.edits}, not {wanted.edits}; hint: look again"
        )
    changed = _change(row, wanted)
    if not changed:
        return row
    row.edits += 1
    if "name" in changed:
        session.execute(update(ResultRow).where(ResultRow.experiment_id == row.id).values(name=row.name))
    events.tell(session, "experiment.edited", experiment_id=row.id, fields=changed, by=caller.name)
    session.flush()
    session.refresh(row, ["archived_at"])
    outbox.describe_experiment(session, row)
    return row


def _change(row: ExperimentRow, wanted: Edit) -> list[str]:
    """Change a row, and return the names of the fields that are other ones now."""
    tags = sorted({*row.tags} - {*wanted.remove} | {*wanted.add})
    if len(tags) > MOST_TAGS and len(tags) > len(row.tags):
        raise InvalidRequest("tags.add", list(wanted.add), f"{MOST_TAGS} tags at the most; it has {len(row.tags)}")
    changed = []
    for field, value in (("name", wanted.name), ("note", wanted.note), ("tags", tags)):
        if value is not None and value != getattr(row, field):
            setattr(row, field, value)
            changed.append(field)
    if wanted.archived is not None and wanted.archived != (row.archived_at is not None):
        row.archived_at = func.clock_timestamp() if wanted.archived else None
        changed.append("archived")
    return changed


def withdraw(session: Session, experiment_id: str, reason: str, caller: Caller) -> ExperimentRow:
    """Take an experiment off the leaderboards, whose withdrawn entries say why; one that still runs will not get there.

    What rests on it, as an ensemble does on its members, is flagged.

    Raises:
        NotFound: no such experiment.
        Forbidden: it belongs to another user.
    """
    row = experiments.lock_owned(session, experiment_id, caller)
    if row.withdrawn_reason == reason:
        return row
    row.withdrawn_at, row.withdrawn_by, row.withdrawn_reason = func.clock_timestamp(), caller.name, reason
    withdrawal.hide(session, row.id)
    resting.flag(session, row)
    _tell(session, row, "withdrawn", caller, reason)
    return row


def reinstate(session: Session, experiment_id: str, caller: Caller) -> ExperimentRow:
    """Take a withdrawal back; an experiment that is not withdrawn stays as it is.

    Raises:
        NotFound: no such experiment.
        Forbidden: it belongs to another user.
    """
    row = experiments.lock_owned(session, experiment_id, caller)
    if row.withdrawn_at is None:
        return row
    row.withdrawn_at, row.withdrawn_by, row.withdrawn_reason = None, None, None
    withdrawal.show(session, row.id)
    resting.flag(session, row)
    _tell(session, row, "reinstated", caller, "")
    return row


def _tell(session: Session, row: ExperimentRow, what: str, caller: Caller, reason: str) -> None:
    said: dict[str, Any] = {"reason": reason} if reason else {}
    events.tell(session, f"experiment.{what}", experiment_id=row.id, by=caller.name, **said)
    outbox.tag_experiment(session, row.id, withdrawn=reason)
    session.flush()
    session.refresh(row, ["withdrawn_at"])
