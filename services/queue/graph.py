"""How stages and experiments move each other: locks, readiness, revival, endings, settling."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from collections.abc import Set as AbstractSet

from sqlalchemy import ColumnElement, Select, Text, and_, any_, bindparam, func, or_, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from services.board import best, results
from services.db.tables import ExperimentRow, ExperimentStageRow, StageRow
from services.errors import Cause
from services.journal import events, notices, outbox

LIVE = ("queued", "running")
UNSETTLED = (*LIVE, "cancelling")
UNFINISHED = ("waiting", "ready", "running")
DONE = ("succeeded", "evicted")
"""A stage whose output was evicted has done its work: its experiments stay what they are."""

OWED = StageRow.state.in_(UNFINISHED)
"""What an experiment waits for."""
STOPPING = and_(StageRow.state == "running", StageRow.cancel_requested)
"""What one waits for that is being cancelled; a stage that others still need goes on without it."""

LOCK_STAGES = (
    select(StageRow)
    .where(StageRow.key == any_(bindparam("keys", type_=ARRAY(Text))))
    .order_by(StageRow.key)
    .with_for_update(key_share=True)  # what refers to a stage by its key is inserted without waiting
    .execution_options(populate_existing=True)
)
MAKE_READY = text("""
UPDATE stage SET state = 'ready', ready_at = clock_timestamp()
WHERE key = ANY(:keys) AND state = 'waiting' AND NOT EXISTS (
    SELECT FROM stage_input JOIN stage AS source ON source.key = input_key
    WHERE stage_key = stage.key AND source.state <> 'succeeded'
)
RETURNING queue
""")


def _waits_for_none(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """No stage of an experiment meets a condition; a limit keeps Postgres from joining all stages there ever were."""
    query = select(StageRow.key).join(ExperimentStageRow, ExperimentStageRow.stage_key == StageRow.key)
    query = query.where(ExperimentStageRow.experiment_id == ExperimentRow.id, condition)
    return query.limit(1).scalar_subquery().is_(None)


LEFTOVERS = (
    select(ExperimentRow)
    .where(
        or_(
            and_(ExperimentRow.state.in_(LIVE), _waits_for_none(OWED)),
            and_(ExperimentRow.state == "cancelling", _waits_for_none(STOPPING)),
        )
    )
    .order_by(ExperimentRow.id)
    .with_for_update(key_share=True, skip_locked=True)
)


def lock_stages(session: Session, keys: Collection[str]) -> dict[str, StageRow]:
    """Lock rows of the stage table and return them as they are now."""
    return {row.key: row for row in session.scalars(LOCK_STAGES, {"keys": list(keys)})} if keys else {}


def make_ready(session: Session, keys: Collection[str]) -> dict[str, int]:
    """Make the waiting stages among ``keys`` whose inputs have all succeeded ready; count them by queue.

    The caller holds locks on ``keys``, so that of two inputs that finish together one sees the other.
    """
    return dict(Counter(session.scalars(MAKE_READY, {"keys": list(keys)})))


def revive(session: Session, keys: Collection[str]) -> dict[str, StageRow]:
    """Lock stages that an experiment needs; failed and cancelled ones get a new start.

    The earlier attempts of a stage that starts anew no longer count.
    """
    rows = lock_stages(session, keys)
    for row in rows.values():
        if row.state in ("failed", "cancelled"):
            _start_anew(row)
        elif row.state == "running":
            row.cancel_requested = False
    session.flush()
    return rows


def _start_anew(row: StageRow) -> None:
    row.state, row.cause, row.message, row.progress = "waiting", None, None, None
    row.cancel_requested, row.not_before, row.finished_at, row.avoid_worker_id = False, None, None, None
    row.attempts_forgiven = row.attempt


def remake_evicted(
    session: Session, rows: Mapping[str, StageRow], inputs: Mapping[str, Collection[str]]
) -> AbstractSet[str]:
    """Give the evicted stages of a plan a new start whose output is missed, and return their keys.

    Missed are the inputs of stages that are yet to run, and what no stage of the plan takes as an input. An evicted
    stage between stages that are there stays as it is: features that exist need no flow.

    Args:
        session: a transaction of the caller.
        rows: the stages of the plan that existed before, locked, by key.
        inputs: keys of the inputs of every stage of the plan.
    """
    evicted = {key: row for key, row in rows.items() if row.state == "evicted"}
    if not evicted:
        return set()
    taken = {key for entries in inputs.values() for key in entries}
    finished = {key for key, row in rows.items() if row.state == "succeeded"}
    missed = [key for key in inputs if key not in finished and (key not in evicted or key not in taken)]
    remade: set[str] = set()
    while missed:
        key = missed.pop()
        if key in evicted:
            remade.add(key)
            _start_anew(evicted.pop(key))
        missed += [source for source in inputs[key] if source in evicted]
    session.flush()
    return remade


def experiments_of(session: Session, key: str) -> list[ExperimentRow]:
    """Return the unfinished experiments that need a stage, locked, in the order of their ids."""
    query = (
        select(ExperimentRow)
        .where(ExperimentRow.id.in_(_unsettled(key)))
        .order_by(ExperimentRow.id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )
    return [row for row in session.scalars(query) if row.state in UNSETTLED]


def experiment_ids_of(session: Session, key: str) -> list[str]:
    """Return the ids of the unfinished experiments that need a stage."""
    return list(session.scalars(_unsettled(key)))


def _unsettled(key: str) -> Select[str]:
    return (
        select(ExperimentRow.id)
        .join(ExperimentStageRow, ExperimentStageRow.experiment_id == ExperimentRow.id)
        .where(ExperimentStageRow.stage_key == key, ExperimentRow.state.in_(UNSETTLED))
    )


def end_stage(session: Session, row: StageRow, state: str, cause: Cause | None, message: str | None) -> None:
    """Write a stage's last state, tell of it, and close its run in MLflow."""
    row.state, row.cause, row.message = state, cause, message
    row.finished_at, row.lease_expires_at, row.worker_id = func.clock_timestamp(), None, None
    events.tell(session, f"stage.{state}", stage_key=row.key, attempt=row.attempt, cause=cause, message=message)
    if row.attempt:
        outbox.finish_stage(session, row, state)


def settle(session: Session, experiments: Collection[ExperimentRow]) -> None:
    """Give each experiment that waits for no stage any more its last state."""
    session.flush()
    for experiment in experiments:
        states = (
            select(StageRow.state)
            .join(ExperimentStageRow, ExperimentStageRow.stage_key == StageRow.key)
            .where(ExperimentStageRow.experiment_id == experiment.id)
        )
        cancelling = experiment.state == "cancelling"
        if session.scalar(states.where(STOPPING if cancelling else OWED).limit(1)) is not None:
            continue
        succeeded = session.scalar(states.where(StageRow.state.not_in(DONE)).limit(1)) is None
        last = "succeeded" if succeeded else "cancelled" if cancelling else "failed"
        if last == "failed" and experiment.cause is None:
            _blame(session, experiment)
        finish_experiment(session, experiment, last)


def _blame(session: Session, experiment: ExperimentRow) -> None:
    """Give an experiment that came when its stage had just failed the cause of that stage."""
    query = (
        select(StageRow)
        .join(ExperimentStageRow, ExperimentStageRow.stage_key == StageRow.key)
        .where(ExperimentStageRow.experiment_id == experiment.id, StageRow.state.not_in(DONE))
        .order_by((StageRow.state == "failed").desc(), StageRow.finished_at, StageRow.key)
        .limit(1)
    )
    row = session.scalars(query).one()
    experiment.cause, experiment.message = row.cause, f"{row.label}: {row.message}"


def settle_leftovers(session: Session) -> None:
    """Settle experiments that were submitted in the moment in which their last stage ended."""
    settle(session, list(session.scalars(LEFTOVERS)))


def finish_experiment(session: Session, experiment: ExperimentRow, state: str) -> None:
    """Write an experiment's last state, tell of it, and close its run in MLflow."""
    experiment.state, experiment.finished_at = state, func.clock_timestamp()
    events.tell(
        session, f"experiment.{state}", experiment_id=experiment.id, cause=experiment.cause, message=experiment.message
    )
    if state == "succeeded":
        results.collect(session, experiment)
    _notify(session, experiment, state)
    outbox.finish_experiment(session, experiment, state)


def _notify(session: Session, experiment: ExperimentRow, state: str) -> None:
    """Have users told of an end, and of boards that it changes at the top."""
    session.flush()
    reached = best.reached(session, experiment.id) if state == "succeeded" else {}
    notices.add(session, "failure" if state == "failed" else "end", experiment, reached)
    boards = best.leads(session, experiment.id) if reached else []
    if boards:
        notices.add(session, "best", experiment, reached, boards)
