"""The tail of the journal: what all who follow experiments wait for, read by one look for all of them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any

from starlette.concurrency import run_in_threadpool

from api import use_now
from api.foresight import Foresight
from api.shapes import Event
from services.db.engine import Database
from services.journal import events
from services.journal.events import EventView
from services.queue import experiments
from services.queue.experiments import Standing

LATE_SECONDS = 10.0
"""After which a look no longer goes on from the one before: nobody has looked, and too much may have come."""


@dataclass(frozen=True)
class Pace:
    """How often streams look for news, and how much they take at once.

    Attributes:
        poll_seconds: between two looks; to be told by Postgres instead, a process would hold a connection.
        ping_seconds: after so long without an event a comment says that the stream is alive.
        batch: events of one look.
        use_seconds: between two looks at what the stages use.
    """

    poll_seconds: float = 0.5
    ping_seconds: float = 15.0
    batch: int = 500
    use_seconds: float = 5.0


@dataclass(frozen=True)
class Line:
    """An event as it is sent, made once for all who are told of it."""

    position: int
    type: str
    encoded: bytes


@dataclass(frozen=True)
class News:
    """How an experiment stands, and what came of it since a position.

    Attributes:
        told: the position up to which ``lines`` hold everything.
        more: whether there may be more by now.
    """

    standing: Standing
    lines: list[Line]
    told: int
    more: bool = False


@dataclass(frozen=True)
class Round:
    """One look for all experiments that were followed as it began: what came of them between two positions.

    Attributes:
        standings: of the experiments, by id.
        lines: likewise, of those of which something came.
    """

    began: int
    told: int
    standings: Mapping[str, Standing]
    lines: Mapping[str, list[Line]]

    def news(self, experiment_id: str, told: int) -> News | None:
        """Return what somebody has not heard of who was told all up to a position; None where it does not say that."""
        standing = self.standings.get(experiment_id)
        if standing is None or told < self.began:
            return None
        lines = self.lines.get(experiment_id, [])
        return News(standing, [line for line in lines if line.position > told], max(told, self.told))


class Tail:
    """Looks at the database that streams share; use it in one event loop.

    Who comes looks for itself, at all that came since a position. Then it takes part in the rounds: each pace one look
    reads for all of them what came since the look before, so that it costs what came, not how many are followed. A
    round with more than one look takes, or after nobody has looked for a while, is empty: it begins anew, and all look
    for themselves once.
    """

    def __init__(self, database: Database, foresight: Foresight) -> None:
        self._database, self._foresight = database, foresight
        self._followed = Counter[str]()
        self._looks: dict[Hashable, _Look] = {}
        self._round: Round | None = None
        self._late_at = 0.0

    @contextmanager
    def following(self, experiment_id: str) -> Iterator[None]:
        """Have the rounds look at an experiment too while a block lasts."""
        self._followed[experiment_id] += 1
        try:
            yield
        finally:
            self._followed[experiment_id] -= 1
            if not self._followed[experiment_id]:
                del self._followed[experiment_id]

    async def news(self, experiment_id: str, told: int, pace: Pace) -> News:
        """Return what came of an experiment that is followed after a position, by now or less than a pace ago.

        Raises:
            NotFound: there is no such experiment any more.
            Unavailable: Postgres is away.
        """
        latest: Round = await self._share("round", pace.poll_seconds, partial(self._look_for_all, pace))
        found = latest.news(experiment_id, told)
        if found is not None:
            return found
        own = partial(run_in_threadpool, look_for_one, self._database, experiment_id, told, pace.batch)
        news: News = await self._share((experiment_id, told), pace.poll_seconds, own)
        return news

    async def use(self, experiment_id: str, pace: Pace) -> use_now.UseNow | None:
        """Return what a followed experiment uses, as of less than ``use_seconds`` ago; None if it is new or gone."""

        async def look() -> Mapping[str, use_now.UseNow]:
            return await run_in_threadpool(use_now.look, self._database, self._foresight, list(self._followed))

        found: Mapping[str, use_now.UseNow] = await self._share("use", pace.use_seconds, look)
        return found.get(experiment_id)

    async def _look_for_all(self, pace: Pace) -> Round:
        now, before = monotonic(), self._round
        began = None if before is None or now > self._late_at else before.told
        found = await run_in_threadpool(look_for_all, self._database, list(self._followed), began, pace.batch)
        self._round, self._late_at = found, now + LATE_SECONDS
        return found

    async def _share(self, key: Hashable, seconds: float, look: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Return what a look gave that began less than some seconds ago, or begin one."""
        now = monotonic()
        taken = self._looks.get(key)
        if taken is None or taken.is_over(now):
            self._looks = {other: found for other, found in self._looks.items() if now < found.until}
            taken = self._looks[key] = _Look(now + seconds, asyncio.create_task(look()))
            taken.task.add_done_callback(_heard)
        if taken.task.done():
            return taken.task.result()
        return await asyncio.shield(taken.task)  # one who leaves does not end it for others


@dataclass(frozen=True)
class _Look:
    until: float
    task: asyncio.Task[Any]

    def is_over(self, now: float) -> bool:
        """Say whether it is too old, or has failed."""
        return now >= self.until or (self.task.done() and (self.task.cancelled() or self.task.exception() is not None))


def _heard(task: asyncio.Task[Any]) -> None:
    """Take notice of an error though everybody who waited has left."""
    if not task.cancelled():
        task.exception()


def look_for_one(database: Database, experiment_id: str, told: int, batch: int) -> News:
    """Read what came of an experiment after a position; its state first: a finished one tells nothing after it."""
    with database.transaction() as session:
        row = experiments.get(session, experiment_id)
        standing = Standing(row.state, row.cause, row.message)
        until = events.position(session)
        found = experiments.events_after(session, experiment_id, told, batch)
    lines = [line(each) for each in found]
    if len(lines) == batch:
        return News(standing, lines, lines[-1].position, more=True)
    return News(standing, lines, max(told, until, lines[-1].position if lines else 0))


def look_for_all(database: Database, experiment_ids: Collection[str], began: int | None, batch: int) -> Round:
    """Read what came of experiments after a position, or nothing but where the next look is to begin."""
    with database.transaction() as session:
        standings = experiments.standings(session, experiment_ids)
        until = events.position(session)
        if began is None or until <= began:
            return Round(until, until, standings, {})
        found = events.since(session, experiment_ids, began, until, batch + 1)
    if len(found) > batch:
        return Round(until, until, standings, {})
    lines: dict[str, list[Line]] = {}
    for event, told_to in found:
        made = line(event)
        for experiment_id in told_to:
            lines.setdefault(experiment_id, []).append(made)
    return Round(began, until, standings, lines)


def line(event: EventView) -> Line:
    """Return an event as it is sent."""
    return Line(event.id, event.type, encoded(event.type, Event.of(event).model_dump_json(), event.id))


def encoded(kind: str, data: str, position: int | None = None) -> bytes:
    """Write one event (WHATWG HTML, sec. 9.2.6); JSON has no line break."""
    number = "" if position is None else f"id: {position}\n"
    return f"{number}event: {kind}\ndata: {data}\n\n".encode()
