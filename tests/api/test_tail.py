"""The look that all streams share: what each is told is what it would read alone."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from typing import Any

import pytest

from api import stream, tail
from api.foresight import Foresight
from api.tail import Line, News, Pace, Round, Tail
from services.errors import Unavailable
from services.journal import events
from services.queue import experiments
from services.queue.experiments import Standing
from tests.queries import queries_of


def tail_of(database) -> Tail:
    return Tail(database, Foresight())


def test_a_round_tells_what_is_new_to_whoever_asks() -> None:
    lines = [Line(position, "stage.running", b"") for position in (3, 7)]
    taken = Round(2, 9, {"told": Standing("running", None, None)}, {"told": lines})

    def told(position: int) -> tuple[list[int], int]:
        news = taken.news("told", position)
        assert news is not None
        return [line.position for line in news.lines], news.told

    assert [told(position) for position in (2, 3, 7, 12)] == [([3, 7], 9), ([7], 9), ([], 9), ([], 12)]
    assert taken.news("told", 1) is None  # it does not say what came between
    assert taken.news("another", 2) is None


def test_many_who_watch_one_experiment_share_one_look(database, submit, monkeypatch):
    made, closing = submit(), threading.Event()
    look, taken = tail.look_for_one, []
    monkeypatch.setattr(tail, "look_for_one", lambda *arguments: taken.append(arguments[1:3]) or look(*arguments))

    async def watch() -> list[bytes]:
        shared, pace = tail_of(database), Pace(poll_seconds=3600)
        streams = [stream.told(shared, made["id"], 0, closing, pace) for _ in range(20)]
        first = [await anext(streams[0]), *await asyncio.gather(*(anext(each) for each in streams[1:]))]
        leaves = asyncio.ensure_future(shared.news(made["id"], 7, pace))
        stays = asyncio.ensure_future(shared.news(made["id"], 7, pace))
        await asyncio.sleep(0)
        leaves.cancel()  # one who leaves does not take the look from the others
        assert (await stays).standing.state == "queued"
        return first

    first = asyncio.run(watch())
    assert taken == [(made["id"], 0), (made["id"], 7)]
    assert len(first) == 20
    assert len(set(first)) == 1


def test_those_who_watch_different_experiments_share_the_looks_too(database, submit, worker, monkeypatch):
    made = [submit(seeds=[seed])["id"] for seed in range(4)]
    someone = worker()
    monkeypatch.setattr(tail, "look_for_one", lambda *_: pytest.fail("a stream looked for itself"))
    monkeypatch.setattr(tail, "LATE_SECONDS", 3600)
    after = {id_: _position(database) for id_ in made}

    async def watch(shared: Tail) -> dict[str, News]:
        pace = Pace(poll_seconds=0)
        with contextlib.ExitStack() as following:
            for id_ in made:
                following.enter_context(shared.following(id_))
            await shared.news(made[0], after[made[0]], pace)
            someone.finish_all()
            pace = Pace(poll_seconds=3600)
            with queries_of(database) as sent:
                found = {id_: await shared.news(id_, after[id_], pace) for id_ in made}
            assert len(sent) == 3  # how all stand, up to where, and what came
            return found

    found = asyncio.run(watch(tail_of(database)))
    for id_, news in found.items():
        with database.transaction() as session:
            own = experiments.events_after(session, id_, after[id_], 500)
        assert [line.position for line in news.lines] == [event.id for event in own]
        assert news.standing.state == "succeeded"
    index = [line.encoded for news in found.values() for line in news.lines if b"index" in line.encoded]
    assert len(index) == 4 * len(set(index))  # a stage that all share is told to all, in the same words


def _position(database) -> int:
    with database.transaction() as session:
        return events.position(session)


def test_a_stream_that_falls_behind_the_others_looks_for_itself(database, submit, worker):
    made = submit()["id"]

    async def watch() -> list[News]:
        shared, pace = tail_of(database), Pace(poll_seconds=0)
        with shared.following(made):
            early = await shared.news(made, 0, pace)
            worker().finish_all()
            last = early
            while last.standing.state != "succeeded" or last.lines:
                last = await shared.news(made, last.told, pace)
            return [early, await shared.news(made, early.told, pace)]

    early, late = asyncio.run(watch())
    with database.transaction() as session:
        whole = experiments.events_after(session, made, 0, 500)
    assert [line.position for news in (early, late) for line in news.lines] == [event.id for event in whole]


def test_more_than_a_look_takes_is_left_to_each(database, submit, worker):
    made = submit()["id"]

    async def watch() -> list[int]:
        shared, pace = tail_of(database), Pace(poll_seconds=0, batch=3)
        told, positions = _position(database), list[int]()
        with shared.following(made):
            await shared.news(made, told, pace)
            worker().finish_all()
            for _ in range(50):
                news = await shared.news(made, told, pace)
                positions += [line.position for line in news.lines]
                told = news.told
        return positions

    positions = asyncio.run(watch())
    with database.transaction() as session:
        whole = experiments.events_after(session, made, 0, 500)
    assert positions == [event.id for event in whole[-len(positions) :]]
    assert len(positions) > 6
    assert whole[-1].type == "experiment.succeeded"


def test_a_look_that_failed_is_not_shared(database, submit, monkeypatch):
    made, look, number = submit(), tail.look_for_all, itertools.count()

    def away(*arguments: Any) -> Round:
        if next(number) == 0:
            raise Unavailable("Postgres at host:5432: gone")
        return look(*arguments)

    monkeypatch.setattr(tail, "look_for_all", away)

    async def take() -> str:
        shared, pace = tail_of(database), Pace(poll_seconds=3600)
        with shared.following(made["id"]):
            with pytest.raises(Unavailable):
                await shared.news(made["id"], 0, pace)
            return (await shared.news(made["id"], 0, pace)).standing.state

    assert asyncio.run(take()) == "queued"
