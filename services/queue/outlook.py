"""How long what runs may still take, and when what waits may start.

A running stage tells by its own progress, or by earlier attempts at stages of its kind and sizes; a waiting one starts
when the queue before it has been worked off and its owner's quota has room. Each is a range, by the least and the most
that every stage may take.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session, aliased

from services.db.tables import AttemptRow, ExperimentStageRow, StageInputRow, StageRow, WorkerRow
from services.queue import graph, history, pace, quotas
from services.queue.history import Earlier
from services.queue.pace import Span
from services.queue.schedule import Job, Running, Slots, Times, play
from services.queue.workers import IN_LINE, WAITING

LINE = 1000
"""Stages in line that are looked at: of those behind them nobody says when they start."""
COLUMNS = (
    *(StageRow.key, StageRow.state, StageRow.queue, StageRow.gpus, StageRow.priority, StageRow.owner, StageRow.sizes),
    *(StageRow.progress, StageRow.worker_id, StageRow.ready_at, StageRow.not_before, StageRow.started_at),
)


@dataclass(frozen=True)
class Outlook:
    """Seconds from now by the keys of stages; what nobody knows is not there.

    Attributes:
        left: until the end of each that runs.
        starts: until the start of each that waits.
        ends: until the end of either.
    """

    left: Mapping[str, Span]
    starts: Mapping[str, Span]
    ends: Mapping[str, Span]

    def until_all_end(self, unfinished: Iterable[str]) -> Span | None:
        """Return how long it may take until all of some stages have ended; None where nobody can say."""
        spans = [self.ends.get(key, Span(0.0, None)) for key in unfinished]
        if not spans:
            return None
        highs = [span.high for span in spans if span.high is not None]
        whole = Span(max(span.low for span in spans), max(highs) if len(highs) == len(spans) else None)
        return whole if whole.known else None


def look_ahead(session: Session) -> Outlook:
    """Look ahead for the stages that run and the first in line."""
    now: float = session.execute(select(func.extract("epoch", func.clock_timestamp()))).scalar_one()
    now = float(now)
    held = and_(AttemptRow.stage_key == StageRow.key, AttemptRow.number == StageRow.attempt)
    query = select(*COLUMNS, AttemptRow.gpus.label("held")).join(AttemptRow, held).where(StageRow.state == "running")
    running = session.execute(query).all()
    workers = list(session.scalars(select(WorkerRow).where(WorkerRow.state == "alive")))
    served = {queue for worker in workers for queue in worker.queues}  # what waits in others is not started
    first = select(*COLUMNS).where(WAITING, StageRow.queue.in_(served)).order_by(*IN_LINE).limit(LINE)
    line = list(session.execute(first)) if served else []
    earlier = history.earlier(session, {row.sizes for row in (*running, *line) if row.sizes is not None})
    left = {row.key: span for row in running if (span := _left(row, earlier, now)) is not None}
    taken = {row.key: history.span(earlier.get(row.sizes, ()), _gpus(row, workers)) for row in line}
    owed = _owed(session, [row.key for row in line if row.state == "waiting"])
    allowed = quotas.given(session)
    least, most = (
        play(
            [_job(row, _bound(taken[row.key], at), owed.get(row.key, frozenset()), now) for row in line],
            [_running(row, _bound(left.get(row.key), at)) for row in running],
            {worker.id: Slots.of(worker.queues, worker.devices, worker.concurrency) for worker in workers},
            allowed,
        )
        for at in (0, 1)
    )
    waiting = {row.key for row in line}
    starts = {key: span for key, span in _spans(least, most, 0).items() if key in waiting}
    return Outlook(left, starts, _spans(least, most, 1))


def _left(row: Any, earlier: Earlier, now: float) -> Span | None:
    """Return what is left of a stage that runs; one that takes longer than every earlier attempt does not say it."""
    found = pace.left(row.progress, now)
    if found is not None:
        return found
    whole = history.span(earlier.get(row.sizes, ()), row.held)
    if whole is None or whole.high is None:
        return None
    ago = max(0.0, now - row.started_at.timestamp())
    return Span(max(0.0, whole.low - ago), whole.high - ago) if whole.high > ago else None


def _gpus(row: Any, workers: Sequence[WorkerRow]) -> int:
    """Return how many GPUs a stage would hold, by the workers that serve its queue."""
    on_gpu = any(row.queue in worker.queues and worker.devices != ["cpu"] for worker in workers)
    return row.gpus if row.queue == "gpu" and on_gpu else 0


def _owed(session: Session, keys: Collection[str]) -> dict[str, frozenset[str]]:
    """Return the inputs of some stages that are not there yet."""
    if not keys:
        return {}
    source = aliased(StageRow)
    query = (
        select(StageInputRow.stage_key, StageInputRow.input_key)
        .join(source, source.key == StageInputRow.input_key)
        .where(StageInputRow.stage_key.in_(keys), source.state.not_in(graph.DONE))
    )
    found: dict[str, frozenset[str]] = {}
    for key, input_key in session.execute(query):
        found[key] = found.get(key, frozenset()) | {input_key}
    return found


def _bound(span: Span | None, at: int) -> float:
    """Return an end of a range: the lower one is 0 and the upper one infinite where nobody knows."""
    low, high = span or Span(0.0, None)
    return (low, inf if high is None else high)[at]


def _job(row: Any, seconds: float, needs: frozenset[str], now: float) -> Job:
    since = {name: moment.timestamp() - now for name in ("ready_at", "not_before") if (moment := getattr(row, name))}
    ready_at = since.get("ready_at") if row.state == "ready" else None
    earliest = max(0.0, since.get("not_before", 0.0))
    return Job(row.key, row.queue, row.gpus, row.priority, row.owner, seconds, ready_at, needs, earliest)


def _running(row: Any, seconds: float) -> Running:
    return Running(row.key, row.worker_id or "", row.queue, row.held, row.owner, seconds, row.gpus)


def _spans(least: Times, most: Times, at: int) -> dict[str, Span]:
    """Return the ranges of starts (0) or ends (1); a queue may be worked off sooner where a stage takes longer."""
    found = {}
    for key in least:
        one, other = least[key][at], most.get(key, (inf, inf))[at]
        span = Span(min(one, other), None if other == inf else max(one, other))
        if span.known:
            found[key] = span
    return found


def of_experiments(session: Session, ahead: Outlook, experiment_ids: Collection[str]) -> dict[str, Span]:
    """Return how long it may take until the last stage of each has ended, where somebody can say."""
    query = (
        select(ExperimentStageRow.experiment_id, StageRow.key)
        .join(ExperimentStageRow, ExperimentStageRow.stage_key == StageRow.key)
        .where(ExperimentStageRow.experiment_id.in_(experiment_ids), StageRow.state.in_(graph.UNFINISHED))
    )
    unfinished: dict[str, list[str]] = {}
    for experiment_id, key in session.execute(query):
        unfinished.setdefault(experiment_id, []).append(key)
    spans = {experiment_id: ahead.until_all_end(keys) for experiment_id, keys in unfinished.items()}
    return {experiment_id: span for experiment_id, span in spans.items() if span is not None}


def of_experiment(session: Session, ahead: Outlook, experiment_id: str) -> Span | None:
    """Return the same of one; None where nobody can say."""
    return of_experiments(session, ahead, [experiment_id]).get(experiment_id)
