"""The events of an experiment as server-sent events, resumable by `Last-Event-ID`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Header
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from api.deps import DatabaseDep, Id
from api.shapes import Event
from services import experiments
from services.db.engine import Database
from services.db.tables import FINISHED
from services.events import EventView

POLL_SECONDS = 0.5
"""Between two looks for news; to be told by Postgres instead, each stream would hold a connection."""
BATCH = 500
MAX_POSITION = 2**100
"""Beyond any event's position, and within what the services can take apart."""

router = APIRouter(prefix="/experiments", tags=["experiments"])

LastEventId = Annotated[int, Header(alias="Last-Event-ID", ge=0, le=MAX_POSITION)]


@dataclass(frozen=True)
class News:
    """What one short look at the database found."""

    state: str
    cause: str | None
    message: str | None
    events: list[EventView]


def _look(database: Database, experiment_id: str, position: int) -> News:
    """Read the state first: a finished experiment tells nothing after it."""
    with database.transaction() as session:
        row = experiments.get(session, experiment_id)
        found = experiments.events_after(session, experiment_id, position, BATCH)
        return News(row.state, row.cause, row.message, found)


def _known(experiment_id: Id, database: DatabaseDep) -> str:
    """Answer 404 before the stream begins."""
    with database.transaction() as session:
        return experiments.get(session, experiment_id).id


@router.get("/{experiment_id}/events", response_class=EventSourceResponse)
async def events(
    experiment_id: Annotated[str, Depends(_known)], database: DatabaseDep, last_event_id: LastEventId = 0
) -> AsyncIterator[ServerSentEvent]:
    """Stream what happens, from the beginning or after `Last-Event-ID`, until an `end` event.

    Between two looks the stream holds neither a thread nor a connection of the database.
    """
    position, told, quiet = last_event_id, "", 0
    while True:
        news = await run_in_threadpool(_look, database, experiment_id, position)
        for event in news.events:
            position, told = event.id, event.type
            yield ServerSentEvent(id=str(event.id), event=event.type, data=Event.of(event))
        quiet = 0 if news.events else quiet + 1
        if news.state in FINISHED and (told == f"experiment.{news.state}" or quiet > 1):
            break
        if len(news.events) < BATCH:
            await asyncio.sleep(POLL_SECONDS)
    end = {"state": news.state, "cause": news.cause, "message": news.message}
    yield ServerSentEvent(event="end", data=end)
