"""The events of an experiment as server-sent events, resumable by `Last-Event-ID`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from time import monotonic
from typing import Annotated, Any, Protocol

from fastapi import APIRouter, Depends, Header, HTTPException, Query, Request
from pydantic import BaseModel, ConfigDict
from starlette.responses import StreamingResponse

from api import use_now
from api.deps import DatabaseDep, Id, SettingsDep
from api.field_errors import inlined
from api.shapes import Event, ExperimentState
from api.tail import Pace, Tail, encoded
from services.db.tables import FINISHED
from services.errors import NotFound, Unavailable
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


_SAID = {"anyOf": [inlined(shape.model_json_schema()) for shape in (Event, use_now.UseNow, End)]}
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


def pace() -> Pace:
    """Return the pace of every stream."""
    return Pace()


class Closing(Protocol):
    """Whether the server stops."""

    def is_set(self) -> bool:
        """Say so."""
        raise NotImplementedError


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
    pace: Annotated[Pace, Depends(pace)],
    last_event_id: LastEventId = 0,
    after: Annotated[int, Query(ge=0, le=MAX_POSITION)] = 0,
) -> EventStream:
    """Stream what happens, from the beginning or after `Last-Event-ID`, until an `end` event.

    `after` is for who cannot set that header at first, such as a browser; the later of the two counts.

    `use` events say every few seconds what the stages use and how long they may still take, if that has changed. They
    have no id: what they say is true now, and nobody needs it later.

    A stream that ends without one has lost the server: ask again, after the last event that came.
    """
    begin = max(last_event_id, after)
    return EventStream(told(request.app.state.tail, experiment_id, begin, request.state.closing, pace))


async def told(
    tail: Tail, experiment_id: str, position: int, closing: Closing, pace: Pace = Pace()
) -> AsyncIterator[bytes]:
    """Yield events as they are sent.

    Between two looks it holds neither a thread nor a connection of the database. It ends early when Postgres is away or
    the server stops.
    """
    last, quiet, sent_at = "", 0, monotonic()
    used, used_at = use_now.NOTHING.seen, sent_at
    with tail.following(experiment_id):
        while not closing.is_set():
            try:
                news = await tail.news(experiment_id, position, pace)
                use = None
                if monotonic() - used_at >= pace.use_seconds:
                    use, used_at = await tail.use(experiment_id, pace), monotonic()
            except Unavailable as error:
                log.warning("events of %s break off: %s", experiment_id, error)
                return
            except NotFound:  # it was deleted meanwhile
                return
            position = news.told
            if news.lines:  # at once: a client that has gone meanwhile is noticed between two looks
                last, sent_at = news.lines[-1].type, monotonic()
                yield b"".join(line.encoded for line in news.lines)
            if use is not None and use.seen != used:
                used, sent_at = use.seen, monotonic()
                yield encoded("use", use.model_dump_json())
            quiet = 0 if news.lines else quiet + 1
            state = news.standing.state
            if state in FINISHED and (last == f"experiment.{state}" or quiet > 1):
                yield encoded("end", End.model_validate(news.standing).model_dump_json())
                return
            if monotonic() - sent_at > pace.ping_seconds:
                sent_at = monotonic()
                yield PING
            if not news.more:
                await asyncio.sleep(pace.poll_seconds)
