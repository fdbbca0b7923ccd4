"""Experiments: looked at, cancelled, tried again."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from typing import Literal

from sqlalchemy import ColumnElement, case, func, select, tuple_, update
from sqlalchemy.orm import Session, defer

from services.api_keys import Caller
from services.db.tables import (
    AttemptRow,
    DeletedExperimentRow,
    ExperimentRow,
    ExperimentStageRow,
    ExperimentStreamRow,
    StageInputRow,
    StageRow,
)
from services.errors import Conflict, InvalidRequest, NotFound
from services.journal import events, outbox
from services.queue import graph, needs, search

MAX_PAGE = 200
Archived = Literal["no", "only", "any"]
"""Of a listing: what becomes of archived experiments."""
NAMED_STAGES = 10  # that a message holds, the most similar first
CURSOR = r"([0-9]{1,16})-(exp_[0-9a-f]{1,36})"
"""Of an experiment: when it was made, in microseconds since 1970, and its id."""
EPOCH, MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)


@dataclass(frozen=True)
class Retried:
    """An experiment that runs again; ``queues`` counts new work."""

    row: ExperimentRow
    queues: Mapping[str, int]


@dataclass(frozen=True)
class Standing:
    """How far an experiment is, and why it ended so."""

    state: str
    cause: str | None
    message: str | None


@dataclass(frozen=True)
class Page:
    """Some experiments, newest first, without their specs, how many all pages have, and where the next one begins."""

    items: list[ExperimentRow]
    next_cursor: str | None
    total: int


@dataclass(frozen=True)
class StageView:
    """A stage in the plan of one experiment."""

    row: StageRow
    reused: bool
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class AttemptLog:
    """The end of what one attempt wrote to its log."""

    stage_key: str
    label: str
    number: int
    state: str
    text: str


@dataclass(frozen=True)
class AttemptView:
    """One attempt at a stage, and the end of its log where it failed."""

    row: AttemptRow
    label: str
    last_words: str


def get(session: Session, experiment_id: str) -> ExperimentRow:
    """Return an experiment, or raise ``NotFound``."""
    row = session.get(ExperimentRow, experiment_id)
    if row is None:
        raise _missing(session, experiment_id)
    return row


def standings(session: Session, experiment_ids: Collection[str]) -> dict[str, Standing]:
    """Return how experiments stand, by id; those that there are not are left out."""
    query = select(ExperimentRow.id, ExperimentRow.state, ExperimentRow.cause, ExperimentRow.message)
    found = session.execute(query.where(ExperimentRow.id.in_(experiment_ids)))
    return {id_: Standing(state, cause, message) for id_, state, cause, message in found}


def page(
    session: Session,
    *,
    state: str | None = None,
    dataset: str | None = None,
    name: str | None = None,
    owner: str | None = None,
    model: str | None = None,
    id_: str | None = None,
    words: str | None = None,
    tags: Collection[str] = (),
    archived: Archived = "no",
    sweep: str | None = None,
    limit: int = 50,
    cursor: str | None = None,
    count_to: int | None = None,
) -> Page:
    """Return experiments, newest first, from where ``cursor`` of the page before says.

    Args:
        session: a transaction of the caller.
        state: only those in this state.
        dataset: only those on this dataset.
        name: only those whose name has these letters, large or small.
        owner: only this user's.
        model: only those of which a stream has a network of this kind.
        id_: only those whose id begins so.
        words: only those of which some text has all of these words, or begins so; see `search`.
        tags: only those with all of these.
        archived: whether archived ones are left out, alone, or among the others.
        sweep: only those that this sweep submitted.
        limit: how many at the most.
        cursor: of the page before.
        count_to: at which ``total`` ends, since to count many takes long; None counts all that match.

    Raises:
        InvalidRequest: the cursor is not one that we gave.
    """
    wanted = {"state": state, "dataset": dataset, "owner": owner, "sweep_id": sweep}
    conditions = [*_conditions(**wanted, name=name, model=model, id_=id_)]
    conditions += [search.has_words(words)] if words is not None else []
    conditions += [search.has_tags(tags)] if tags else []
    conditions += {"no": [ExperimentRow.archived_at.is_(None)], "only": [ExperimentRow.archived_at.is_not(None)]}.get(
        archived, []
    )
    query = select(ExperimentRow.id).where(*conditions)
    matching = query.limit(count_to).subquery()
    query = query.order_by(ExperimentRow.created_at.desc(), ExperimentRow.id.desc())
    if cursor is not None:
        query = query.where(tuple_(ExperimentRow.created_at, ExperimentRow.id) < tuple_(*_open_cursor(cursor)))
    ids = list(session.scalars(query.limit(limit + 1)))  # from the index alone, for most of those that do not match
    whole = select(ExperimentRow).options(defer(ExperimentRow.spec, raiseload=True)).where(ExperimentRow.id.in_(ids))
    found = {row.id: row for row in session.scalars(whole)}
    rows = [found[id_] for id_ in ids]
    more = len(rows) > limit
    total = (session.scalar(select(func.count()).select_from(matching)) or 0) if count_to != 0 else 0
    return Page(rows[:limit], _make_cursor(rows[limit - 1]) if more else None, total)


def _conditions(**wanted: str | None) -> Iterator[ColumnElement[bool]]:
    for column in ("state", "dataset", "owner", "sweep_id"):
        if wanted[column] is not None:
            yield getattr(ExperimentRow, column) == wanted[column]
    if wanted["id_"] is not None:
        yield ExperimentRow.id.startswith(wanted["id_"], autoescape=True)
    if wanted["name"] is not None:
        yield ExperimentRow.name.icontains(wanted["name"], autoescape=True)
    if wanted["model"] is not None:
        ids = select(ExperimentStreamRow.experiment_id).where(ExperimentStreamRow.model == wanted["model"])
        yield ExperimentRow.id.in_(ids)


def stages(session: Session, experiment_id: str) -> list[StageView]:
    """Return the stages of an experiment in the order of its plan."""
    get(session, experiment_id)
    query = (
        select(StageRow, ExperimentStageRow.reused)
        .join(ExperimentStageRow, ExperimentStageRow.stage_key == StageRow.key)
        .where(ExperimentStageRow.experiment_id == experiment_id)
        .order_by(ExperimentStageRow.position)
    )
    found = [(row, reused) for row, reused in session.execute(query)]
    inputs: dict[str, list[str]] = {}
    edges = (
        select(StageInputRow.stage_key, StageInputRow.input_key)
        .join(ExperimentStageRow, ExperimentStageRow.stage_key == StageInputRow.stage_key)
        .where(ExperimentStageRow.experiment_id == experiment_id)
        .order_by(StageInputRow.position)
    )
    for key, input_key in session.execute(edges):
        inputs.setdefault(key, []).append(input_key)
    return [StageView(row, reused, tuple(inputs.get(row.key, ()))) for row, reused in found]


def counts(session: Session, experiment_ids: Collection[str]) -> dict[str, dict[str, int]]:
    """Return, for each experiment, how many of its stages are in which state."""
    query = (
        select(ExperimentStageRow.experiment_id, StageRow.state, func.count())
        .join(StageRow, StageRow.key == ExperimentStageRow.stage_key)
        .where(ExperimentStageRow.experiment_id.in_(experiment_ids))
        .group_by(ExperimentStageRow.experiment_id, StageRow.state)
    )
    found: dict[str, dict[str, int]] = {experiment_id: {} for experiment_id in experiment_ids}
    for experiment_id, state, count in session.execute(query):
        found[experiment_id][state] = count
    return found


def events_after(session: Session, experiment_id: str, after: int, limit: int) -> list[events.EventView]:
    """Return the events of an experiment and its stages that follow position ``after``."""
    return events.after(session, get(session, experiment_id), after, limit)


def logs(session: Session, experiment_id: str, stage: str | None = None) -> list[AttemptLog]:
    """Return the log of every attempt at a stage of the experiment, in the order of the plan.

    Args:
        session: a transaction of the caller.
        experiment_id: whose stages.
        stage: only of the stages with this name, or whose key begins so.

    Raises:
        NotFound: no such experiment, or it has no such stage; the message has the names.
    """
    get(session, experiment_id)
    chosen = None if stage is None else keys_named(session, experiment_id, stage)
    query = (
        select(AttemptRow, StageRow.label)
        .join(StageRow, StageRow.key == AttemptRow.stage_key)
        .join(ExperimentStageRow, ExperimentStageRow.stage_key == StageRow.key)
        .where(ExperimentStageRow.experiment_id == experiment_id)
        .order_by(ExperimentStageRow.position, AttemptRow.number)
    )
    return [
        AttemptLog(row.stage_key, label, row.number, row.state, row.log or "")
        for row, label in session.execute(query)
        if chosen is None or row.stage_key in chosen
    ]


def keys_named(session: Session, experiment_id: str, stage: str) -> set[str]:
    """Return the keys of an experiment's stages of a name, or that begin so."""
    known = [(view.row.key, view.row.label) for view in stages(session, experiment_id)]
    found = {key for key, label in known if label == stage or key.startswith(stage)}
    if not found:
        names = [label for _, label in known]
        shown = "; ".join(get_close_matches(stage, names, NAMED_STAGES, 0.0))
        more = f"; and {len(names) - NAMED_STAGES} more" if len(names) > NAMED_STAGES else ""
        raise NotFound("stage", stage, f"its stages are {shown}{more}")
    return found


def attempts(session: Session, experiment_id: str, words: int, latest: int | None = None) -> list[AttemptView]:
    """Return the attempts at the stages of the experiment, in the order of the plan.

    Args:
        session: a transaction of the caller.
        experiment_id: of the experiment.
        words: characters of the end of the log of an attempt that failed.
        latest: only so many of them, those that began last.
    """
    last = case((AttemptRow.state == "failed", func.right(AttemptRow.log, words)))
    query = (
        select(AttemptRow, StageRow.label, last)
        .options(defer(AttemptRow.log), defer(AttemptRow.curves))
        .join(StageRow, StageRow.key == AttemptRow.stage_key)
        .join(ExperimentStageRow, ExperimentStageRow.stage_key == StageRow.key)
        .where(ExperimentStageRow.experiment_id == experiment_id)
        .order_by(ExperimentStageRow.position, AttemptRow.number)
    )
    if latest is not None:
        mine = select(AttemptRow.stage_key, AttemptRow.number).join(
            ExperimentStageRow, ExperimentStageRow.stage_key == AttemptRow.stage_key
        )
        mine = mine.where(ExperimentStageRow.experiment_id == experiment_id)
        last_begun = mine.order_by(AttemptRow.started_at.desc()).limit(latest)
        query = query.where(tuple_(AttemptRow.stage_key, AttemptRow.number).in_(last_begun))
    return [AttemptView(row, label, tail or "") for row, label, tail in session.execute(query)]


def cancel(
    session: Session, experiment_id: str, caller: Caller, *, cause: str | None = None, message: str | None = None
) -> ExperimentRow:
    """Cancel an experiment; stages that others need go on, running ones of its own are stopped by their workers.

    Args:
        session: a transaction of the caller.
        experiment_id: of the experiment.
        caller: who cancels it.
        cause: why, if not since somebody wanted it, such as ``pruned``.
        message: the same in words.

    Raises:
        NotFound: no such experiment.
        Forbidden: it belongs to another user.
        Conflict: it has finished.
    """
    row = lock_owned(session, experiment_id, caller)
    if row.state in ("succeeded", "failed", "cancelled"):
        raise Conflict(f"experiment {experiment_id} cannot be cancelled: it has {row.state}")
    row.state = "cancelling"
    if cause is not None:
        row.cause, row.message = cause, message
    events.tell(session, "experiment.cancelling", experiment_id=row.id)
    session.flush()
    rows = graph.lock_stages(session, _keys_of(session, row))
    needs.cancel_unneeded(session, rows, "cancelled before it started")
    needs.refresh_requests(session, rows)
    graph.settle(session, [row])
    return row


def retry(session: Session, experiment_id: str, caller: Caller) -> Retried:
    """Run the failed and cancelled stages of an experiment again; finished ones are kept.

    Raises:
        NotFound: no such experiment.
        Forbidden: it belongs to another user.
        Conflict: it has neither failed nor been cancelled.
    """
    row = lock_owned(session, experiment_id, caller)
    if row.state not in ("failed", "cancelled"):
        raise Conflict(f"experiment {experiment_id} cannot be tried again: it is {row.state}")
    row.state, row.cause, row.message, row.finished_at = "queued", None, None, None
    events.tell(session, "experiment.queued", experiment_id=row.id)
    outbox.reopen_experiment(session, row)
    keys = _keys_of(session, row)
    rows = graph.revive(session, keys)
    _remake_evicted(session, row, rows)
    needs.refresh_requests(session, rows)
    queues = graph.make_ready(session, keys)
    graph.settle(session, [row])
    return Retried(row, queues)


def lock_owned(session: Session, experiment_id: str, caller: Caller, *, whole: bool = False) -> ExperimentRow:
    """Lock an experiment for its owner or an administrator; ``whole`` keeps others from referring to it too.

    Raises:
        NotFound: no such experiment.
        Forbidden: it belongs to another user.
    """
    query = select(ExperimentRow).where(ExperimentRow.id == experiment_id).with_for_update(key_share=not whole)
    row = session.scalar(query)
    if row is None:
        raise _missing(session, experiment_id)
    caller.require_owned(f"experiment {experiment_id}", row.owner)
    return row


def _missing(session: Session, experiment_id: str) -> NotFound:
    """Return the error for an id that no experiment has, with who deleted it."""
    gone = session.get(DeletedExperimentRow, experiment_id)
    if gone is None:
        return NotFound("experiment", experiment_id)
    hint = f"{gone.name!r} was deleted by {gone.deleted_by} at {gone.deleted_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    return NotFound("experiment", experiment_id, hint)


def _keys_of(session: Session, row: ExperimentRow) -> list[str]:
    return list(session.scalars(select(ExperimentStageRow.stage_key).where(ExperimentStageRow.experiment_id == row.id)))


def _remake_evicted(session: Session, experiment: ExperimentRow, rows: Mapping[str, StageRow]) -> None:
    """Have evicted outputs that a plan misses made again; such a stage is no reused one."""
    inputs: dict[str, list[str]] = {key: [] for key in rows}
    for edge in session.scalars(select(StageInputRow).where(StageInputRow.stage_key.in_(list(rows)))):
        inputs[edge.stage_key].append(edge.input_key)
    remade = graph.remake_evicted(session, rows, inputs)
    if remade:
        mine = (ExperimentStageRow.experiment_id == experiment.id, ExperimentStageRow.stage_key.in_(remade))
        reused = update(ExperimentStageRow).where(*mine, ExperimentStageRow.reused).values(reused=False)
        experiment.reused_stages -= len(list(session.scalars(reused.returning(ExperimentStageRow.stage_key))))


def _make_cursor(row: ExperimentRow) -> str:
    return f"{(row.created_at - EPOCH) // MICROSECOND}-{row.id}"


def _open_cursor(cursor: str) -> tuple[datetime, str]:
    found = re.fullmatch(CURSOR, cursor, re.ASCII)
    if found is None:
        raise InvalidRequest("cursor", cursor, "the `next_cursor` of the page before")
    return EPOCH + int(found[1]) * MICROSECOND, found[2]
