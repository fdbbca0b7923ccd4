"""The queue after a claim: heartbeat, reports, fenced endings, retries.

Every write after a claim says ``WHERE key = :key AND attempt = :attempt AND state = 'running'``; nought rows mean
that the lease was lost, and the writer stops. All times are the database's. Every function here runs in a transaction
of the caller, who uses ``Database.run``: one that meets another transaction is run again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Literal, NamedTuple, cast

from sqlalchemy import delete, func, select, text, update
from sqlalchemy.orm import Session

from services import registry
from services.board import predictions
from services.db.storable import storable, storable_text
from services.db.tables import AttemptRow, EventRow, StageRow
from services.errors import Cause, LeaseLost
from services.journal import events, outbox
from services.queue import graph, needs, pace
from services.stages import KINDS, StageKind

LONGEST_PAUSE = timedelta(minutes=1)
"""Longer than any pause before a retry; one that ends later was written before the database's clock was set back."""
EXPIRE_LOCK_MILLISECONDS = 500
"""How long the sweep waits for rows that another transaction holds, before it turns to the next stage."""
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
    Cause.DISK_FULL: Retry(5, 10),
    Cause.WORKER_LOST: Retry(3),
    Cause.PREEMPTED: Retry(1000),
}
"""Attempts beyond the first that each cause may cost a stage since it was last submitted or retried by hand."""
HOST_CAUSES = frozenset({Cause.INTERNAL, Cause.CUDA_ERROR, Cause.DISK_FULL, Cause.WORKER_LOST})
"""Causes that may lie in the host: the next attempt goes to another worker while there is one."""


@dataclass(frozen=True)
class Renewal:
    """What a worker learns when it renews a lease.

    Attributes:
        cancel_requested: whether the stage is to be ended.
        timeout_seconds: how long it may run; this rises when an experiment joins that allows more.
    """

    cancel_requested: bool
    timeout_seconds: float


class Usage(NamedTuple):
    """What an attempt took; None where nobody measured it.

    Attributes:
        memory_bytes: the most that its process had in memory.
        gpu_memory_bytes: the most that its tensors took on a GPU.
        disk_bytes: its output.
        cpu_seconds: time that processors computed for it.
        curves: what it used when, see ``services.queue.curve``.
    """

    memory_bytes: int | None = None
    gpu_memory_bytes: int | None = None
    disk_bytes: int | None = None
    cpu_seconds: float | None = None
    curves: dict[str, Any] | None = None

    @property
    def measured(self) -> dict[str, Any]:
        """What was measured, by the columns that hold it."""
        return {name: value for name, value in self._asdict().items() if value is not None}


def heartbeat(
    session: Session,
    key: str,
    attempt: int,
    lease_seconds: float,
    log_tail: str | None = None,
    usage: Usage | None = None,
) -> Renewal:
    """Renew a lease and return what is asked of the stage now; keep the end of its log, and what it used so far.

    Raises:
        LeaseLost: the attempt no longer owns the stage.
    """
    query = (
        _fenced(key, attempt)
        .values(lease_expires_at=func.clock_timestamp() + timedelta(seconds=lease_seconds))
        .returning(StageRow.cancel_requested, StageRow.timeout_seconds)
    )
    row = session.execute(query).one_or_none()
    if row is None:
        raise LeaseLost(f"attempt {attempt} of stage {key[:12]}")
    kept = (usage or Usage()).measured
    if log_tail is not None:
        kept["log"] = storable_text(log_tail[-LOG_BYTES:])
    if kept:
        mine = update(AttemptRow).where(AttemptRow.stage_key == key, AttemptRow.number == attempt)
        session.execute(mine.values(**kept))
    return Renewal(*row)


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
    values = {"attempt": attempt, "progress": _marked(session, key, progress), "message": warning}
    values = {name: value for name, value in values.items() if value is not None}
    if session.scalar(_fenced(key, attempt).values(**values).returning(StageRow.key)) is None:
        raise LeaseLost(f"attempt {attempt} of stage {key[:12]}")
    for fact in facts:
        if fact.type == "metrics":
            points = {name: value for name, value in fact.data["values"].items() if not isinstance(value, str)}
            if not outbox.add_metrics(session, key, fact.data["step"], points, fact.milliseconds) and points:
                continue  # an earlier attempt has told it
        if fact.type != "progress" or fact.data is progress:
            reported = {**fact.data, "reported_at": fact.milliseconds / 1000}
            events.tell(session, f"stage.{fact.type}", stage_key=key, attempt=attempt, **reported)


def _marked(session: Session, key: str, progress: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return progress with the marks of its attempt so far, by the clock of the database."""
    if progress is None:
        return None
    query = select(StageRow.progress, func.extract("epoch", func.clock_timestamp())).where(StageRow.key == key)
    before, now = session.execute(query).one_or_none() or (None, 0)
    return pace.marked(progress, before, float(now))


def succeed(
    session: Session,
    key: str,
    attempt: int,
    *,
    summary: dict[str, Any],
    output: str,
    log: str,
    files: Sequence[str] = (),
    usage: Usage | None = None,
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
        usage: what the attempt took, as far as measured.

    Raises:
        LeaseLost: the attempt no longer owns the stage.
    """
    near = needs.lock_for_success(session, key)
    row = _owned(session, near.stages, key, attempt)
    summary = storable(summary)
    row.summary, row.output = predictions.keep(session, summary) if row.kind == "fuse" else summary, output
    if row.kind == "index":
        registry.note_index(session, row.params, summary)
    _end_attempt(session, row, "succeeded", log=log, usage=usage)
    if KINDS[cast("StageKind", row.kind)].category == "scores":  # its summary is numbers
        outbox.add_measured(session, key, row.summary)
    for file in files:
        outbox.add_artifact(session, key, file, f"{output}/{file}")
    graph.end_stage(session, row, "succeeded", None, None)
    session.flush()
    queues = graph.make_ready(session, [other for other in near.stages if other != key])
    graph.settle(session, near.experiments)
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
    usage: Usage | None = None,
) -> dict[str, int]:
    """End an attempt without a result: try again if its cause allows, else fail what depends on it.

    Raises:
        LeaseLost: the attempt no longer owns the stage.
    """
    failure = Failure(cause, storable_text(message), exit_code, log, usage=usage)
    return _end_without_result(session, key, attempt, failure)


@dataclass(frozen=True)
class Failure:
    """How an attempt ended without a result; ``expired`` if only a lease that has run out allows to say so."""

    cause: Cause
    message: str
    exit_code: int | None = None
    log: str | None = None
    expired: bool = False
    usage: Usage | None = None


def _end_without_result(session: Session, key: str, attempt: int, failure: Failure) -> dict[str, int]:
    with session.begin_nested() as alone:  # an attempt that is followed by another moves no other stage
        row = _owned(session, graph.lock_stages(session, [key]), key, attempt, failure.expired)
        if (queues := _try_again(session, row, failure)) is not None:
            return queues
        alone.rollback()  # gives up the lock, since all stages of the plan are locked by one statement
    near = needs.lock_for_failure(session, key)
    row = _owned(session, near.stages, key, attempt, failure.expired)
    if (queues := _try_again(session, row, failure)) is not None:
        return queues
    _end_attempt(session, row, "failed", failure)
    cancelled = failure.cause is Cause.CANCELLED or row.cancel_requested
    graph.end_stage(session, row, "cancelled" if cancelled else "failed", failure.cause, failure.message)
    if not cancelled:
        for experiment in near.experiments:
            if experiment.cause is None:
                experiment.cause, experiment.message = failure.cause, f"{row.label}: {failure.message}"
        needs.cancel_descendants(session, key, near.stages, failure.cause, f"its input failed: {row.label}")
    needs.cancel_unneeded(session, near.stages, f"nothing can use it any more: {row.label} did not succeed")
    graph.settle(session, near.experiments)
    needs.refresh_requests(session, near.stages)
    return {}


def _fenced(key: str, attempt: int) -> Any:
    return (
        update(StageRow)
        .where(StageRow.key == key, StageRow.attempt == attempt, StageRow.state == "running")
        .execution_options(synchronize_session=False)
    )


def _owned(session: Session, rows: Mapping[str, StageRow], key: str, attempt: int, expired: bool = False) -> StageRow:
    """Return the locked row of a stage that an attempt owns, and whose lease has run out where that is asked for."""
    row = rows.get(key)
    if row is None or row.attempt != attempt or row.state != "running":
        raise LeaseLost(f"attempt {attempt} of stage {key[:12]}")
    if expired and not session.scalar(select(func.clock_timestamp() > row.lease_expires_at)):
        raise LeaseLost(f"the lease of attempt {attempt} of stage {key[:12]} was renewed meanwhile")
    return row


def _try_again(session: Session, row: StageRow, failure: Failure) -> dict[str, int] | None:
    """End an attempt and make its stage ready anew if its cause allows and an experiment needs it, else do nothing."""
    if not needs.needed(session, [row.key]):
        return None
    if failure.cause is not Cause.CANCELLED and (row.cancel_requested or not _may_retry(session, row, failure.cause)):
        return None
    _end_attempt(session, row, "failed", failure)
    queue = _requeue(session, row, failure.cause, failure.message)
    needs.refresh_requests(session, [row.key])  # who joined while it ran asks too
    return {queue: 1}


def _end_attempt(
    session: Session,
    row: StageRow,
    state: str,
    failure: Failure | None = None,
    log: str = "",
    usage: Usage | None = None,
) -> None:
    attempt = session.get_one(AttemptRow, (row.key, row.attempt))
    attempt.state, attempt.finished_at, attempt.exit_code = state, func.clock_timestamp(), 0
    if failure is not None:
        attempt.cause, attempt.message, attempt.exit_code = failure.cause, failure.message, failure.exit_code
        usage = failure.usage
    for name, value in (usage or Usage()).measured.items():
        setattr(attempt, name, value)
    last = failure.log if failure is not None else log
    if last is not None:
        attempt.log = storable_text(last[-LOG_BYTES:])
    session.execute(delete(EventRow).where(EventRow.stage_key == row.key, EventRow.type == "stage.progress"))


def _may_retry(session: Session, row: StageRow, cause: Cause) -> bool:
    """Tell whether a cause that the running attempt is about to have leaves a try."""
    query = select(func.count()).where(
        AttemptRow.stage_key == row.key,
        AttemptRow.number > row.attempts_forgiven,
        AttemptRow.number < row.attempt,
        AttemptRow.cause == cause,
    )
    spent: int = session.scalar(query) or 0
    return spent < RETRIES[cause].attempts


def _requeue(session: Session, row: StageRow, cause: Cause, message: str) -> str:
    delay = timedelta(seconds=RETRIES[cause].delay_seconds)
    row.avoid_worker_id = row.worker_id if cause in HOST_CAUSES else None
    row.state, row.worker_id, row.lease_expires_at, row.cancel_requested = "ready", None, None, False
    row.ready_at, row.not_before = func.clock_timestamp(), func.clock_timestamp() + delay
    events.tell(session, "stage.retried", stage_key=row.key, attempt=row.attempt, cause=cause, message=message)
    return row.queue


def expired(session: Session, limit: int = 100) -> list[tuple[str, int]]:
    """Return key and attempt of stages whose lease has run out, by database time, longest ago first."""
    query = (
        select(StageRow.key, StageRow.attempt)
        .where(StageRow.state == "running", StageRow.lease_expires_at < func.clock_timestamp())
        .order_by(StageRow.lease_expires_at)
        .limit(limit)
    )
    return [(key, attempt) for key, attempt in session.execute(query)]


def shorten_leases(session: Session, lease_seconds: float) -> None:
    """Have leases end in good time that were written before the database's clock was set back."""
    latest = func.clock_timestamp() + timedelta(seconds=lease_seconds)
    late = StageRow.lease_expires_at > func.clock_timestamp() + timedelta(seconds=2 * lease_seconds)
    found = select(StageRow.key).where(StageRow.state == "running", late).order_by(StageRow.key)
    query = update(StageRow).where(StageRow.key.in_(found.with_for_update(key_share=True, skip_locked=True)))
    session.execute(query.values(lease_expires_at=latest).execution_options(synchronize_session=False))


def expire(session: Session, key: str, attempt: int) -> dict[str, int]:
    """End an attempt whose lease has run out, unless it was renewed or ended meanwhile.

    Raises:
        LeaseLost: it was renewed or has ended meanwhile.
        Contended: another transaction holds what this one needs; it is left to the next sweep.
    """
    session.execute(text(f"SET LOCAL lock_timeout = {EXPIRE_LOCK_MILLISECONDS}"))
    worker_id = session.scalar(select(StageRow.worker_id).where(StageRow.key == key, StageRow.attempt == attempt))
    message = f"no heartbeat from worker {worker_id} within its lease"
    return _end_without_result(session, key, attempt, Failure(Cause.WORKER_LOST, message, expired=True))


def ready(session: Session) -> dict[str, int]:
    """Return how many stages of each queue could be claimed now."""
    pauses = StageRow.not_before.between(func.now(), func.now() + LONGEST_PAUSE)
    query = (
        select(StageRow.queue, func.count())
        .where(StageRow.state == "ready", func.coalesce(pauses, False).is_(False))
        .group_by(StageRow.queue)
    )
    return {name: count for name, count in session.execute(query)}  # noqa: C416 - rows are not pairs to mypy
