"""The queue after a claim: heartbeat, reports, fenced endings, retries.

Every write after a claim says ``WHERE key = :key AND attempt = :attempt AND state = 'running'``; nought rows mean
that the lease was lost, and the writer stops. All times are the database's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Literal

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from services import events, graph, outbox, registry
from services.db.storable import storable, storable_text
from services.db.tables import AttemptRow, EventRow, ExperimentRow, StageRow
from services.errors import Cause, LeaseLost

LOG_BYTES = 64 * 1024
"""How much of the end of an attempt's log is kept."""


@dataclass(frozen=True)
class Retry:
    """How often a cause is tried again, and how long later."""

    attempts: int
    delay_seconds: float = 0.0


RETRIES: dict[Cause, Retry] = {
    Cause.USER_ERROR: Retry(0),
    Cause.DATA_ERROR: Retry(0),
    Cause.TIMEOUT: Retry(0),
    Cause.CANCELLED: Retry(0),
    Cause.OUT_OF_MEMORY: Retry(1, 5),
    Cause.INTERNAL: Retry(1),
    Cause.CUDA_ERROR: Retry(2, 10),
    Cause.WORKER_LOST: Retry(3),
    Cause.PREEMPTED: Retry(1000),
}
"""Attempts beyond the first that each cause may cost a stage since it was last submitted or retried by hand."""


def heartbeat(session: Session, key: str, attempt: int, lease_seconds: float, log_tail: str | None = None) -> bool:
    """Renew a lease and return whether the stage is to be cancelled.

    Raises:
        LeaseLost: the attempt no longer owns the stage.
    """
    query = (
        _fenced(key, attempt)
        .values(lease_expires_at=func.clock_timestamp() + timedelta(seconds=lease_seconds))
        .returning(StageRow.cancel_requested)
    )
    cancel: bool | None = session.scalar(query)
    if cancel is None:
        raise LeaseLost(f"attempt {attempt} of stage {key[:12]}")
    if log_tail is not None:
        _keep_log(session, key, attempt, log_tail)
    return cancel


@dataclass(frozen=True)
class Fact:
    """Something that a rank process reported: ``progress``, ``metrics``, ``checkpoint`` or ``warning``."""

    type: Literal["progress", "metrics", "checkpoint", "warning"]
    milliseconds: int
    data: dict[str, Any]


def record(session: Session, key: str, attempt: int, facts: Sequence[Fact]) -> None:
    """Write what a running stage reported: progress, events, points for MLflow; its last warning is its message.

    A value that is no finite number is told in its event, and is no point of a curve.

    Raises:
        LeaseLost: the attempt no longer owns the stage.
    """
    facts = [replace(fact, data=storable(fact.data)) for fact in facts]
    progress = next((fact.data for fact in reversed(facts) if fact.type == "progress"), None)
    warning = next((fact.data.get("message") for fact in reversed(facts) if fact.type == "warning"), None)
    values = {"attempt": attempt, "progress": progress, "message": warning}
    values = {name: value for name, value in values.items() if value is not None}
    if session.scalar(_fenced(key, attempt).values(**values).returning(StageRow.key)) is None:
        raise LeaseLost(f"attempt {attempt} of stage {key[:12]}")
    for fact in facts:
        if fact.type == "metrics":
            points = {name: value for name, value in fact.data["values"].items() if not isinstance(value, str)}
            outbox.add_metrics(session, key, fact.data["step"], points, fact.milliseconds)
        if fact.type != "progress" or fact.data is progress:
            reported = {**fact.data, "reported_at": fact.milliseconds / 1000}
            events.tell(session, f"stage.{fact.type}", stage_key=key, attempt=attempt, **reported)


def succeed(
    session: Session,
    key: str,
    attempt: int,
    *,
    summary: dict[str, Any],
    output: str,
    log: str,
    files: Sequence[str] = (),
) -> dict[str, int]:
    """Write a stage's result, make its dependants ready, and return how much new work each queue has.

    Args:
        session: a transaction of the caller, who rings the broker after its commit.
        key: the stage.
        attempt: the fencing token.
        summary: small facts about the result.
        output: where the artifact store holds the output.
        log: end of the attempt's log.
        files: names in the output that MLflow is to hold as artifacts.

    Raises:
        LeaseLost: the attempt no longer owns the stage.
    """
    experiments, row, rows = _lock_for_ending(session, key, attempt)
    row.summary, row.output = storable(summary), output
    if row.kind == "index":
        registry.note_index(session, row.params, summary)
    _end_attempt(session, row, "succeeded", None, None, 0, log)
    for file in files:
        outbox.add_artifact(session, key, file, f"{output}/{file}")
    graph.end_stage(session, row, "succeeded", None, None)
    session.flush()
    queues = graph.make_ready(session, [other for other in rows if other != key])
    graph.settle(session, experiments)
    return queues


def fail(
    session: Session,
    key: str,
    attempt: int,
    *,
    cause: Cause,
    message: str,
    log: str | None = None,
    exit_code: int | None = None,
) -> dict[str, int]:
    """End an attempt without a result: try again if its cause allows, else fail what depends on it.

    Raises:
        LeaseLost: the attempt no longer owns the stage.
    """
    message = storable_text(message)
    experiments, row, _ = _lock_for_ending(session, key, attempt)
    _end_attempt(session, row, "failed", cause, message, exit_code, log)
    wanted = cause is Cause.CANCELLED and bool(graph.wanted(session, [key]))
    if wanted or (not row.cancel_requested and _may_retry(session, row, cause)):
        return {_requeue(session, row, cause, message): 1}
    cancelled = cause is Cause.CANCELLED or row.cancel_requested
    graph.end_stage(session, row, "cancelled" if cancelled else "failed", cause, message)
    if not cancelled:
        for experiment in experiments:
            if experiment.cause is None:
                experiment.cause, experiment.message = cause, f"{row.label}: {message}"
        session.flush()
        graph.cancel_descendants(session, key, cause, f"its input failed: {row.label}")
    graph.settle(session, experiments)
    return {}


def _fenced(key: str, attempt: int) -> Any:
    return (
        update(StageRow)
        .where(StageRow.key == key, StageRow.attempt == attempt, StageRow.state == "running")
        .execution_options(synchronize_session=False)
    )


def _lock_for_ending(
    session: Session, key: str, attempt: int
) -> tuple[list[ExperimentRow], StageRow, dict[str, StageRow]]:
    """Lock experiments, then the stage and its dependants; the order that every transaction keeps."""
    experiments = graph.experiments_of(session, key)
    rows = graph.lock_stages(session, [key, *graph.dependants(session, key)])
    row = rows.get(key)
    if row is None or row.attempt != attempt or row.state != "running":
        raise LeaseLost(f"attempt {attempt} of stage {key[:12]}")
    return experiments, row, rows


def _end_attempt(
    session: Session,
    row: StageRow,
    state: str,
    cause: Cause | None,
    message: str | None,
    exit_code: int | None,
    log: str | None,
) -> None:
    attempt = session.get_one(AttemptRow, (row.key, row.attempt))
    attempt.state, attempt.cause, attempt.message, attempt.exit_code = state, cause, message, exit_code
    attempt.finished_at = func.clock_timestamp()
    if log is not None:
        attempt.log = storable_text(log[-LOG_BYTES:])
    session.execute(delete(EventRow).where(EventRow.stage_key == row.key, EventRow.type == "stage.progress"))


def _may_retry(session: Session, row: StageRow, cause: Cause) -> bool:
    query = select(func.count()).where(
        AttemptRow.stage_key == row.key, AttemptRow.number > row.attempts_forgiven, AttemptRow.cause == cause
    )
    session.flush()
    spent: int = session.scalar(query) or 0
    return spent <= RETRIES[cause].attempts


def _requeue(session: Session, row: StageRow, cause: Cause, message: str) -> str:
    delay = timedelta(seconds=RETRIES[cause].delay_seconds)
    row.state, row.worker_id, row.lease_expires_at, row.cancel_requested = "ready", None, None, False
    row.ready_at, row.not_before = func.clock_timestamp(), func.clock_timestamp() + delay
    events.tell(session, "stage.retried", stage_key=row.key, attempt=row.attempt, cause=cause, message=message)
    return row.queue


def _keep_log(session: Session, key: str, attempt: int, log: str) -> None:
    query = update(AttemptRow).where(AttemptRow.stage_key == key, AttemptRow.number == attempt)
    session.execute(query.values(log=storable_text(log[-LOG_BYTES:])))


def expire(session: Session, limit: int = 100) -> None:
    """End attempts whose lease has run out, by database time."""
    query = (
        select(StageRow.key, StageRow.attempt, StageRow.worker_id)
        .where(StageRow.state == "running", StageRow.lease_expires_at < func.now())
        .order_by(StageRow.key)
        .limit(limit)
    )
    for key, attempt, worker_id in list(session.execute(query)):
        fail(
            session,
            key,
            attempt,
            cause=Cause.WORKER_LOST,
            message=f"no heartbeat from worker {worker_id} within its lease",
        )


def ready(session: Session) -> dict[str, int]:
    """Return how many stages of each queue could be claimed now."""
    query = (
        select(StageRow.queue, func.count())
        .where(StageRow.state == "ready", func.coalesce(StageRow.not_before, func.now()) <= func.now())
        .group_by(StageRow.queue)
    )
    return {name: count for name, count in session.execute(query)}  # noqa: C416 - rows are not pairs to mypy
