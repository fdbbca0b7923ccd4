"""The events of an experiment as server-sent events, resumable by `Last-Event-ID`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from time import monotonic
from typing import Annotated, Any, Protocol

from fastapi import APIRouter, Depends, Header, HTTPException, Request
from pydantic import BaseModel, ConfigDict
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from api.deps import DatabaseDep, Id, SettingsDep
from api.shapes import Event, ExperimentState
from services.db.engine import Database
from services.db.tables import FINISHED
from services.errors import Unavailable
from services.journal.events import EventView
from services.queue import experiments

PING = b": ping\n\n"
MAX_POSITION = 2**100
"""Beyond any event's position, and within what the services can take apart."""
RETRY_SECONDS = 5

router = APIRouter(prefix="/experiments", tags=["experiments"])
log = logging.getLogger(__name__)

LastEventId = Annotated[int, Header(alias="Last-Event-ID", ge=0, le=MAX_POSITION)]


class EventStream(StreamingResponse):
    """Server-sent events, which no proxy on the way is to keep back."""

    def __init__(self, content: AsyncIterator[bytes]) -> None:
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        super().__init__(content, headers=headers, media_type="text/event-stream")


class End(BaseModel):
    """What the last event of a stream says of the experiment."""

    model_config = ConfigDict(from_attributes=True)

    state: ExperimentState
    cause: str | None
    message: str | None


_SAID = {"anyOf": [Event.model_json_schema(), End.model_json_schema()]}
_EVENT = {
    "type": "object",
    "required": ["event", "data"],
    "properties": {
        "id": {"type": "string", "pattern": "^[0-9]+$"},
        "event": {"type": "string"},
        "data": {"type": "string", "contentMediaType": "application/json", "contentSchema": _SAID},
    },
}
DOCUMENTED: dict[int | str, dict[str, Any]] = {
    200: {"description": "the events", "content": {"text/event-stream": {"itemSchema": _EVENT}}}
}


@dataclass(frozen=True)
class Pace:
    """How often a stream looks for news, and how much it takes at once.

    Attributes:
        poll_seconds: between two looks; to be told by Postgres instead, each stream would hold a connection.
        ping_seconds: after so long without an event a comment says that the stream is alive.
        batch: events of one look.
    """

    poll_seconds: float = 0.5
    ping_seconds: float = 15.0
    batch: int = 500


def pace() -> Pace:
    """Return the pace of every stream."""
    return Pace()


class Closing(Protocol):
    """Whether the server stops."""

    def is_set(self) -> bool:
        """Say so."""
        raise NotImplementedError


@dataclass(frozen=True)
class News:
    """What one short look at the database found."""

    state: str
    cause: str | None
    message: str | None
    events: list[EventView]


def _look(database: Database, experiment_id: str, position: int, batch: int) -> News:
    """Read the state first: a finished experiment tells nothing after it."""
    with database.transaction() as session:
        row = experiments.get(session, experiment_id)
        found = experiments.events_after(session, experiment_id, position, batch)
        return News(row.state, row.cause, row.message, found)


def _known(experiment_id: Id, database: DatabaseDep) -> str:
    """Answer 404 before the stream begins."""
    with database.transaction() as session:
        return experiments.get(session, experiment_id).id


async def _one_of_few(request: Request, settings: SettingsDep) -> AsyncIterator[None]:
    """Count the stream among those of its client while it lasts, or answer 429."""
    open_streams, most = request.app.state.open_streams, settings.event_streams_per_client
    client = request.client.host if request.client else ""
    if open_streams[client] >= most:
        detail = f"{client} has {most} event streams open, allowed: {most} at once; hint: poll, or close some"
        raise HTTPException(429, detail, {"Retry-After": str(RETRY_SECONDS)})
    open_streams[client] += 1
    try:
        yield
    finally:
        open_streams[client] -= 1
        if not open_streams[client]:
            del open_streams[client]


@router.get(
    "/{experiment_id}/events",
    status_code=200,
    response_class=EventStream,
    responses=DOCUMENTED,
    dependencies=[Depends(_one_of_few)],
)
async def events(
    request: Request,
    experiment_id: Annotated[str, Depends(_known)],
    database: DatabaseDep,
    pace: Annotated[Pace, Depends(pace)],
    last_event_id: LastEventId = 0,
) -> EventStream:
    """Stream what happens, from the beginning or after `Last-Event-ID`, until an `end` event.

    A stream that ends without one has lost the server: ask again, after the last event that came.
    """
    return EventStream(told(database, experiment_id, last_event_id, request.state.closing, pace))


async def told(
    database: Database, experiment_id: str, position: int, closing: Closing, pace: Pace = Pace()
) -> AsyncIterator[bytes]:
    """Yield events as they are sent.

    Between two looks it holds neither a thread nor a connection of the database. It ends early when Postgres is away or
    the server stops.
    """
    last, quiet, sent_at = "", 0, monotonic()
    while not closing.is_set():
        try:
            news = await run_in_threadpool(_look, database, experiment_id, position, pace.batch)
        except Unavailable as error:
            log.warning("events of %s break off: %s", experiment_id, error)
            return
        if news.events:  # at once: a client that has gone meanwhile is noticed between two looks
            position, last, sent_at = news.events[-1].id, news.events[-1].type, monotonic()
            yield b"".join(_encoded(each.type, Event.of(each).model_dump_json(), each.id) for each in news.events)
        quiet = 0 if news.events else quiet + 1
        if news.state in FINISHED and (last == f"experiment.{news.state}" or quiet > 1):
            yield _encoded("end", End.model_validate(news).model_dump_json())
            return
        if monotonic() - sent_at > pace.ping_seconds:
            sent_at = monotonic()
            yield PING
        if len(news.events) < pace.batch:
            await asyncio.sleep(pace.poll_seconds)


def _encoded(kind: str, data: str, position: int | None = None) -> bytes:
    """Write one event (WHATWG HTML, sec. 9.2.6); JSON has no line break."""
    number = "" if position is None else f"id: {position}\n"
    return f"{number}event: {kind}\ndata: {data}\n\n".encode()
