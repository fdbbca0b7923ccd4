"""The workers that report for work, and why a stage waits for one."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, aliased

from services.db.tables import StageInputRow, StageRow, WorkerRow
from services.queue import quotas
from services.queue.quotas import Load
from services.words import counted

THERE = ("alive", "draining")
"""States of a worker whose process runs."""


def report(
    session: Session,
    worker_id: str,
    *,
    queues: Sequence[str],
    devices: Sequence[str],
    concurrency: int,
    draining: str | None = None,
    use: Mapping[str, Any] | None = None,
) -> None:
    """Say that a worker of this process is there.

    Args:
        session: a transaction of the caller.
        worker_id: of the worker.
        queues: that it serves.
        devices: that it has.
        concurrency: stages that it runs at once.
        draining: why it takes no work, if it takes none.
        use: what its machine does, see ``worker.host.machine``.
    """
    values = {
        "id": worker_id,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "queues": list(queues),
        "devices": list(devices),
        "concurrency": concurrency,
        "state": "alive" if draining is None else "draining",
        "message": draining,
        "use": use,
    }
    seen = {name: values[name] for name in ("state", "message", "use")} | {"last_seen_at": func.now()}
    session.execute(insert(WorkerRow).values(values).on_conflict_do_update(index_elements=["id"], set_=seen))


def leave(session: Session, worker_id: str) -> None:
    """Say that a worker has stopped in good order."""
    session.execute(update(WorkerRow).where(WorkerRow.id == worker_id).values(state="stopped", message=None, use=None))


def mark_lost(session: Session, silent_seconds: float) -> list[str]:
    """Mark the workers that have been silent, by database time, and return their ids; not one that is reporting now."""
    period = timedelta(seconds=silent_seconds)
    silent = ~WorkerRow.last_seen_at.between(func.now() - period, func.now() + period)
    found = select(WorkerRow.id).where(WorkerRow.state.in_(THERE), silent).with_for_update(skip_locked=True)
    query = (
        update(WorkerRow)
        .where(WorkerRow.id.in_(found))
        .values(state="lost", message=None, use=None)
        .returning(WorkerRow.id)
    )
    return list(session.scalars(query))


def listing(session: Session, limit: int | None = None, offset: int = 0) -> list[WorkerRow]:
    """Return the workers, those that run first, then the latest seen: all of them, or a page."""
    order = (WorkerRow.state.in_(THERE).desc(), WorkerRow.last_seen_at.desc(), WorkerRow.id)
    return list(session.scalars(select(WorkerRow).order_by(*order).offset(offset).limit(limit)))


def count(session: Session, state: str | None = None) -> int:
    """Return how many workers there are, or those of them in one state."""
    query = select(func.count()).select_from(WorkerRow)
    return session.scalar(query if state is None else query.where(WorkerRow.state == state)) or 0


@dataclass(frozen=True)
class WaitingStage:
    """A stage that does not run yet, its place in line (None before its inputs are there), and the reason."""

    key: str
    label: str
    kind: str
    queue: str
    priority: int
    owner: str
    position: int | None
    reason: str
    ready_at: datetime | None


WAITING = StageRow.state.in_(("ready", "waiting"))
IN_LINE = (StageRow.state, StageRow.priority.desc(), StageRow.ready_at, StageRow.key)


def waiting(session: Session, limit: int = 500, offset: int = 0) -> list[WaitingStage]:
    """Return a page of the stages that wait, those next in line first, each with the reason."""
    rows = list(session.scalars(select(StageRow).where(WAITING).order_by(*IN_LINE).offset(offset).limit(limit)))
    places, found = _places_before(session, offset), {}
    for row in rows:
        if row.state == "ready":
            found[row.key] = places[row.queue] = places.get(row.queue, 0) + 1
    return _explained(session, rows, found)


def waiting_among(session: Session, rows: Sequence[StageRow]) -> list[WaitingStage]:
    """Return those of some stages that wait, each with the reason."""
    rows = [row for row in rows if row.state in ("ready", "waiting")]
    if not rows:
        return []
    ready = [row.key for row in rows if row.state == "ready"]
    return _explained(session, rows, _places(session, ready) if ready else {})


def _places(session: Session, ready: Sequence[str]) -> dict[str, int]:
    """Return the places in line of stages that are ready."""
    place = func.row_number().over(partition_by=StageRow.queue, order_by=IN_LINE[1:])
    line = select(StageRow.key, place.label("place")).where(StageRow.state == "ready").subquery()
    query = select(line.c.key, line.c.place).where(line.c.key.in_(ready))
    return {key: number for key, number in session.execute(query)}  # noqa: C416 - rows are not pairs to mypy


def _explained(session: Session, rows: Sequence[StageRow], places: Mapping[str, int]) -> list[WaitingStage]:
    """Say of stages why they wait; those that are ready have a place in line."""
    there = list(session.scalars(select(WorkerRow).where(WorkerRow.state.in_(THERE)))) if places else []
    owed = _unfinished_inputs(session, [row.key for row in rows if row.state == "waiting"])
    loads = quotas.loads(session, {row.owner for row in rows if row.state == "ready"})
    found = []
    for row in rows:
        place = places.get(row.key)
        reason = (
            _why_ready(row, there, place, loads[row.owner]) if place else f"needs {', '.join(owed.get(row.key, []))}"
        )
        found.append(
            WaitingStage(row.key, row.label, row.kind, row.queue, row.priority, row.owner, place, reason, row.ready_at)
        )
    return found


def count_waiting(session: Session) -> int:
    """Return how many stages wait."""
    return session.scalar(select(func.count()).select_from(StageRow).where(WAITING)) or 0


def _places_before(session: Session, offset: int) -> dict[str, int]:
    """Return how many of the first stages in line are ready, by queue."""
    if not offset:
        return {}
    first = select(StageRow.queue, StageRow.state).where(WAITING).order_by(*IN_LINE).limit(offset).subquery()
    query = select(first.c.queue, func.count()).where(first.c.state == "ready").group_by(first.c.queue)
    return {name: number for name, number in session.execute(query)}  # noqa: C416 - rows are not pairs to mypy


def _unfinished_inputs(session: Session, keys: Sequence[str]) -> dict[str, list[str]]:
    if not keys:
        return {}
    source = aliased(StageRow)
    query = (
        select(StageInputRow.stage_key, source.label, source.state)
        .join(source, source.key == StageInputRow.input_key)
        .where(StageInputRow.stage_key.in_(keys), or_(source.state != "succeeded"))
        .order_by(StageInputRow.position)
    )
    owed: dict[str, list[str]] = {}
    for key, label, state in session.execute(query):
        owed.setdefault(key, []).append(f"{label} ({state})")
    return owed


def _why_ready(row: StageRow, there: Sequence[WorkerRow], place: int, load: Load) -> str:
    serving = [worker for worker in there if row.queue in worker.queues and worker.state == "alive"]
    draining = [worker for worker in there if row.queue in worker.queues and worker.state == "draining"]
    if draining and not serving:
        return f"worker {draining[0].id} takes no work: {draining[0].message}"
    if not serving:
        return f"no live worker serves queue {row.queue!r}; hint: twostream worker --queues {row.queue}"
    if (full := load.why_not(row.queue, row.gpus)) is not None:
        return full
    if row.not_before is not None and row.not_before > datetime.now(UTC):
        return f"tried again at {row.not_before.isoformat(timespec='seconds')}"
    if all(row.gpus > len(worker.devices) for worker in serving):
        most = max(len(worker.devices) for worker in serving)
        return f"needs {counted(row.gpus, 'device')} in one worker; the largest has {most}"
    slots = sum(worker.concurrency for worker in serving)
    busy = f"{counted(slots, 'slot')} in {counted(len(serving), 'worker')} {'is' if slots == 1 else 'are'} busy"
    return f"number {place} in line for queue {row.queue!r}: {busy}"
