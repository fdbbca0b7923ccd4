"""How stages and experiments move each other: readiness, revival, cancelling what nobody needs, settling.

Rows are always locked in the order of their keys, so that no two transactions wait for each other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from sqlalchemy import and_, exists, func, select, update
from sqlalchemy.orm import Session, aliased

from services import events, outbox, results
from services.db.tables import ExperimentRow, ExperimentStageRow, StageInputRow, StageRow
from services.errors import Cause

LIVE = ("queued", "running")
UNFINISHED = ("waiting", "ready", "running")
DONE = ("succeeded", "evicted")
"""A stage whose output was evicted has done its work: its experiments stay what they are."""


def lock_stages(session: Session, keys: Collection[str]) -> dict[str, StageRow]:
    """Lock rows of the stage table and return them as they are now."""
    query = (
        select(StageRow)
        .where(StageRow.key.in_(keys))
        .order_by(StageRow.key)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return {row.key: row for row in session.scalars(query)}


def make_ready(session: Session, keys: Collection[str]) -> dict[str, int]:
    """Make the waiting stages among ``keys`` whose inputs have all succeeded ready; count them by queue.

    The caller holds locks on ``keys``, so that of two inputs that finish together one sees the other.
    """
    source = aliased(StageRow)
    unfinished = (
        select(StageInputRow.stage_key)
        .join(source, source.key == StageInputRow.input_key)
        .where(StageInputRow.stage_key == StageRow.key, source.state != "succeeded")
    )
    query = (
        update(StageRow)
        .where(StageRow.key.in_(keys), StageRow.state == "waiting", ~exists(unfinished))
        .values(state="ready", ready_at=func.clock_timestamp())
        .returning(StageRow.queue)
        .execution_options(synchronize_session=False)
    )
    return dict(Counter(session.scalars(query)))


def revive(row: StageRow) -> None:
    """Give a failed, cancelled or evicted stage a new start; its earlier attempts no longer count."""
    row.state, row.cause, row.message, row.progress = "waiting", None, None, None
    row.cancel_requested, row.not_before, row.finished_at = False, None, None
    row.attempts_forgiven = row.attempt


def remake_evicted(session: Session, rows: Collection[StageRow], keys: Collection[str]) -> set[str]:
    """Give the evicted stages of a plan a new start whose output is missed, and return their keys.

    Missed are the inputs of stages that are yet to run, and what no stage of the plan takes as an input. An evicted
    stage between stages that are there stays as it is: features that exist need no flow.

    Args:
        session: a transaction of the caller.
        rows: the stages of the plan that existed before, locked.
        keys: all stages of the plan.
    """
    evicted = {row.key: row for row in rows if row.state == "evicted"}
    if not evicted:
        return set()
    query = select(StageInputRow.stage_key, StageInputRow.input_key).where(StageInputRow.stage_key.in_(keys))
    inputs: dict[str, list[str]] = {}
    for stage_key, input_key in session.execute(query):
        inputs.setdefault(stage_key, []).append(input_key)
    taken = {key for entries in inputs.values() for key in entries}
    finished = {row.key for row in rows if row.state == "succeeded"}
    missed = [key for key in keys if key not in finished and (key not in evicted or key not in taken)]
    remade: set[str] = set()
    while missed:
        key = missed.pop()
        if key in evicted:
            remade.add(key)
            revive(evicted.pop(key))
        missed += [source for source in inputs.get(key, ()) if source in evicted]
    session.flush()
    return remade


def dependants(session: Session, key: str) -> list[str]:
    """Return the keys of the stages that take this one as an input."""
    return list(session.scalars(select(StageInputRow.stage_key).where(StageInputRow.input_key == key)))


def experiments_of(session: Session, key: str) -> list[ExperimentRow]:
    """Return the unfinished experiments that need a stage, locked, in the order of their ids."""
    query = (
        select(ExperimentRow)
        .join(ExperimentStageRow, ExperimentStageRow.experiment_id == ExperimentRow.id)
        .where(ExperimentStageRow.stage_key == key, ExperimentRow.state.in_((*LIVE, "cancelling")))
        .order_by(ExperimentRow.id)
        .with_for_update(of=ExperimentRow)
    )
    return list(session.scalars(query))


def cancel_descendants(session: Session, key: str, cause: Cause, message: str) -> None:
    """End every stage that can never run because ``key`` failed."""
    edges, reached = StageInputRow, select(StageInputRow.stage_key).where(StageInputRow.input_key == key)
    tree = reached.cte(recursive=True)
    tree = tree.union(select(edges.stage_key).join(tree, edges.input_key == tree.c.stage_key))
    rows = lock_stages(session, list(session.scalars(select(tree.c.stage_key))))
    for row in rows.values():
        if row.state in ("waiting", "ready"):
            end_stage(session, row, "cancelled", cause, message)


def cancel_unneeded(session: Session, experiment: ExperimentRow) -> None:
    """Cancel the unfinished stages of an experiment that no other live experiment needs."""
    other = aliased(ExperimentRow)
    link = aliased(ExperimentStageRow)
    needed = (
        select(link.stage_key)
        .join(other, other.id == link.experiment_id)
        .where(link.stage_key == ExperimentStageRow.stage_key, other.id != experiment.id, other.state.in_(LIVE))
    )
    keys = session.scalars(
        select(ExperimentStageRow.stage_key).where(
            and_(ExperimentStageRow.experiment_id == experiment.id, ~exists(needed))
        )
    )
    for row in lock_stages(session, list(keys)).values():
        if row.state == "running":
            row.cancel_requested = True
        elif row.state in UNFINISHED:
            end_stage(session, row, "cancelled", Cause.CANCELLED, "cancelled before it started")


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
        mine = (
            select(StageRow.state)
            .join(ExperimentStageRow, ExperimentStageRow.stage_key == StageRow.key)
            .where(ExperimentStageRow.experiment_id == experiment.id)
        )
        cancelling = experiment.state == "cancelling"
        owed = mine.where(StageRow.state.in_(UNFINISHED))
        if cancelling:  # a stage that others still need goes on without us
            owed = mine.where(StageRow.state == "running", StageRow.cancel_requested)
        if session.scalar(owed.limit(1)) is not None:
            continue
        succeeded = session.scalar(mine.where(StageRow.state.not_in(DONE)).limit(1)) is None
        last = "succeeded" if succeeded else "cancelled" if cancelling else "failed"
        finish_experiment(session, experiment, last)


def finish_experiment(session: Session, experiment: ExperimentRow, state: str) -> None:
    """Write an experiment's last state, tell of it, and close its run in MLflow."""
    experiment.state, experiment.finished_at = state, func.clock_timestamp()
    events.tell(
        session, f"experiment.{state}", experiment_id=experiment.id, cause=experiment.cause, message=experiment.message
    )
    if state == "succeeded":
        results.collect(session, experiment)
    outbox.finish_experiment(session, experiment, state)
