"""Server-sent events: the whole story, resuming, waiting without holding anything, ending."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from anyio import to_thread
from fastapi.responses import HTMLResponse

from api import stream, tail
from api.tail import Pace, Round
from api.web import experiment_pages
from services.errors import Unavailable
from services.queue import attempts, experiments
from services.queue.curve import Recorder, Sample
from tests.api.test_tail import tail_of


@dataclass
class Sent:
    """One server-sent event as a client reads it."""

    id: str | None
    event: str | None
    data: dict[str, Any]


def parse(text: str) -> Iterator[Sent]:
    for block in text.split("\n\n"):
        lines = [line.partition(": ") for line in block.splitlines() if not line.startswith(":")]
        fields = {name: value for name, _, value in lines}
        if fields:
            yield Sent(fields.get("id"), fields.get("event"), json.loads(fields["data"]))


@pytest.fixture(autouse=True)
def pace(client) -> Callable[..., None]:
    """A function that sets the pace of streams; they look often from the beginning."""

    def set_pace(**changes: float) -> None:
        often = {"poll_seconds": 0.05, "use_seconds": 3600.0}
        client.app.dependency_overrides[stream.pace] = lambda: Pace(**often | changes)

    set_pace()
    return set_pace


@pytest.fixture
def after_some_looks(monkeypatch) -> Callable[..., Any]:
    """A function that does something in another thread, while its block runs, once a stream has looked three times."""
    look, number, waited = tail.look_for_all, itertools.count(1), threading.Event()

    def counted(*arguments: Any) -> Round:
        if next(number) == 3:
            waited.set()
        return look(*arguments)

    monkeypatch.setattr(tail, "look_for_all", counted)

    @contextlib.contextmanager
    def act(action: Callable[[], object]) -> Iterator[None]:
        thread = threading.Thread(target=lambda: waited.wait() and action())
        thread.start()
        try:
            yield
        finally:
            waited.set()
            thread.join()

    return act


def read(client, experiment_id, **headers) -> list[Sent]:
    answer = client.get(f"/experiments/{experiment_id}/events", headers=headers)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-cache"
    return list(parse(answer.text))


def test_a_finished_experiment_is_told_whole_and_ends(client, submit, worker):
    made = submit()
    worker().finish_all()
    told = read(client, made["id"])
    types = [each.event for each in told]
    assert types[0] == "experiment.queued"
    assert types.count("stage.succeeded") == 5
    assert types[-2:] == ["experiment.succeeded", "end"]
    assert told[-1].data == {"state": "succeeded", "cause": None, "message": None}
    assert told[1].data.keys() == {"type", "stage_key", "attempt", "data", "created_at"}
    ids = [int(event.id) for event in told if event.id]
    assert ids == sorted(set(ids))


def test_resumes_after_the_last_event_seen(client, submit, worker):
    made = submit()
    worker().finish_all()
    told = read(client, made["id"])
    rest = read(client, made["id"], **{"Last-Event-ID": told[3].id})
    assert [(event.id, event.event) for event in rest] == [(event.id, event.event) for event in told[4:]]
    only_end = read(client, made["id"], **{"Last-Event-ID": told[-2].id})
    assert [event.event for event in only_end] == ["end"]


def test_more_events_than_one_look_takes(client, submit, worker, pace):
    made = submit()
    worker().finish_all()
    whole = read(client, made["id"])
    pace(batch=2)
    assert read(client, made["id"]) == whole


def test_waits_for_what_comes(client, submit, worker, after_some_looks):
    made = submit()
    with after_some_looks(worker().finish_all):
        told = read(client, made["id"])
    assert told[0].event == "experiment.queued"
    assert told[-1].data["state"] == "succeeded"


def test_failure_ends_with_its_cause(client, submit, worker):
    made = submit()
    someone = worker()
    someone.fail(someone.claim(), "list names a clip that is not there")
    end = read(client, made["id"])[-1]
    assert end.event == "end"
    assert (end.data["state"], end.data["cause"]) == ("failed", "data_error")
    assert "not there" in end.data["message"]


def test_silence_is_filled_with_comments(client, submit, worker, after_some_looks, pace):
    pace(ping_seconds=0.01)  # before the next look
    made = submit()
    with after_some_looks(worker().finish_all):
        text = client.get(f"/experiments/{made['id']}/events").text
    assert ": ping\n\n" in text


@pytest.mark.parametrize("value", ["-1", "x", "1" * 40, ""])
def test_weird_last_event_id_is_422(client, submit, value):
    made = submit()
    answer = client.get(f"/experiments/{made['id']}/events", headers={"Last-Event-ID": value})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "Last-Event-ID"


def test_largest_last_event_id_is_harmless(client, submit):
    made = submit()
    client.post(f"/experiments/{made['id']}/cancel")
    told = read(client, made["id"], **{"Last-Event-ID": str(stream.MAX_POSITION)})
    assert [each.event for each in told] == ["end"]


def test_an_idle_stream_holds_neither_connection_nor_thread(database, submit):
    made = submit()

    async def watch() -> tuple[int, int]:
        events = stream.told(tail_of(database), made["id"], 0, threading.Event(), Pace(poll_seconds=3600))
        await anext(events)
        waiting = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)  # now it waits for the time of its second look
        held = database.engine.pool.checkedout(), to_thread.current_default_thread_limiter().borrowed_tokens
        waiting.cancel()
        await asyncio.wait([waiting])
        return held

    assert asyncio.run(watch()) == (0, 0)


def test_a_client_has_a_bounded_number_of_streams(client, settings, submit):
    made, most = submit(), settings.event_streams_per_client
    path = f"/experiments/{made['id']}/events"
    client.app.state.open_streams["testclient"] = most
    refused = client.get(path)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "5")
    assert refused.json()["detail"].startswith(f"testclient has {most} event streams open, allowed: {most} at once")
    client.app.state.open_streams["testclient"] = most - 1
    assert client.head(path).status_code == 200
    client.post(f"/experiments/{made['id']}/cancel")
    assert client.get(path).status_code == 200
    assert client.app.state.open_streams["testclient"] == most - 1


def test_head_of_a_stream_is_its_head(client, submit):
    answer = client.head(f"/experiments/{submit()['id']}/events")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert client.app.state.open_streams == {}


def test_a_stream_breaks_off_without_postgres_and_goes_on_later(client, submit, worker, monkeypatch, caplog):
    made = submit()
    look, number = tail.look_for_all, itertools.count()

    def away(*arguments: Any) -> Round:
        if next(number) == 1:
            raise Unavailable("Postgres at host:5432: gone")
        return look(*arguments)

    monkeypatch.setattr(tail, "look_for_all", away)
    first = read(client, made["id"])
    assert [event.event for event in first] == ["experiment.queued"]
    [record] = [record for record in caplog.records if record.name == "api.stream"]
    assert (record.levelname, record.exc_info) == ("WARNING", None)
    assert record.getMessage() == f"events of {made['id']} break off: Postgres at host:5432: gone"
    worker().finish_all()
    assert read(client, made["id"], **{"Last-Event-ID": first[-1].id})[-1].event == "end"


def test_a_page_hears_what_comes_after_it_was_made(client, submit, worker):
    made = submit()
    page = client.get(f"/experiments/{made['id']}", headers={"Accept": "text/html"}).text
    [address] = re.findall(r'data-events="([^"]*)"', page)
    assert address.startswith(f"/experiments/{made['id']}/events?after=")
    worker().finish_all()
    told = list(parse(client.get(address).text))
    assert (told[0].event, told[-2].event) == ("experiment.running", "experiment.succeeded")
    whole = read(client, made["id"])
    assert [event.id for event in told] == [event.id for event in whole[-len(told) :]]
    later = list(parse(client.get(address, headers={"Last-Event-ID": told[1].id}).text))
    assert later[0].id == told[2].id


def test_those_who_watch_get_one_rendering_until_they_have_heard_of_more(client, submit, worker, monkeypatch):
    made = submit()
    path, html = f"/experiments/{made['id']}", {"Accept": "text/html"}
    renderings = []
    monkeypatch.setattr(experiment_pages, "rendered", lambda *arguments: renderings.append(arguments) or b"page")
    monkeypatch.setattr(experiment_pages, "page", lambda *arguments: renderings.append(arguments) or HTMLResponse())
    monkeypatch.setattr("api.answers.time.monotonic", lambda: 1000.0)
    heard = read_some(client, made["id"])
    for _ in range(3):
        answer = client.get(path, headers=html | {"Twostream-Watched": heard})
        assert (answer.text, answer.headers["twostream-pause"]) == ("page", "5.0")
    assert len(renderings) == 1
    client.get(path, headers=html)
    client.app.state.open_streams["one"], client.app.state.open_streams["other"] = 20, 40
    many = client.get(f"{path}?split=1", headers=html | {"Twostream-Watched": "0"})
    assert (many.text, many.headers["twostream-pause"]) == ("page", "30.0")  # whatever they have chosen
    assert len(renderings) == 2
    worker().finish_all()
    news = read(client, made["id"])[-2].id
    for now, status in ((1003.0, 204), (1004.0, 204), (1030.0, 200), (1031.0, 200)):
        monkeypatch.setattr("api.answers.time.monotonic", lambda now=now: now)
        told = client.get(path, headers=html | {"Twostream-Watched": news})
        assert told.status_code == status
        assert float(told.headers["twostream-pause"]) == 30.0 - (now - 1000.0) % 30
    assert [rendering[1] for rendering in renderings] == ["live.html", "experiment.html", "live.html"]
    assert renderings[-1][2]["experiment"].state == "succeeded"
    assert client.get("/experiments/exp_0", headers=html | {"Twostream-Watched": "0"}).status_code == 404
    assert client.get(path, headers=html | {"Twostream-Watched": "x"}).status_code == 422


def read_some(client, experiment_id) -> str:
    """Return the id of the last event that there is by now."""
    database = client.app.state.backend.database
    with database.transaction() as session:
        return str(experiments.events_after(session, experiment_id, 0, 500)[-1].id)


def test_a_stream_ends_when_the_server_stops(database, submit):
    made, closing = submit(), threading.Event()

    async def watch() -> list[bytes]:
        sent = []
        async for message in stream.told(tail_of(database), made["id"], 0, closing):
            sent.append(message)
            closing.set()
        return sent

    [only] = asyncio.run(watch())
    assert b"event: experiment.queued\n" in only


def test_what_stages_use_is_told_when_it_changes(client, submit, worker, pace, database):
    pace(use_seconds=0.1)
    made = submit()
    someone = worker()
    claim = someone.claim()
    assert claim is not None
    told, numbers = [], itertools.count(1)
    with client.stream("GET", f"/experiments/{made['id']}/events") as answer:
        for line in answer.iter_lines():
            told.append(line)
            if line != "event: use":
                continue
            if (number := next(numbers)) < 3:
                with database.transaction() as session:
                    attempts.heartbeat(
                        session, claim.key, claim.attempt, 60, usage=attempts.Usage(curves=_used(number))
                    )
            elif number == 3:
                someone.succeed(claim)
                someone.finish_all()
    uses = [event for event in parse("\n".join(told)) if event.event == "use"]
    assert {event.id for event in uses} == {None}
    seen = [event.data["stages"][0] for event in uses if event.data["stages"]]
    assert [each["cpu"] for each in seen[:3]] == [None, 1.0, 2.0]
    assert {each["key"] for each in seen[:3]} == {claim.key}
    assert told.count("event: end") == 1


def _used(cpus: float) -> dict[str, Any]:
    recorder = Recorder()
    recorder.add(0, Sample(cpus, 1e9, None, None))
    return recorder.kept()
