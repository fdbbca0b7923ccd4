"""What waits and why, and who works."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict

from api.deps import DatabaseDep
from api.paging import HEADERS, Offset, PageSize, page_of
from services.queue import workers

router = APIRouter(tags=["queue"])

WorkerState = Literal["alive", "draining", "stopped", "lost"]


class Waiting(BaseModel):
    """A stage that does not run yet; `position` is its place in line once its inputs are there."""

    model_config = ConfigDict(from_attributes=True)

    key: str
    label: str
    kind: str
    queue: str
    priority: int
    owner: str
    position: int | None
    reason: str
    ready_at: datetime | None


class Worker(BaseModel):
    """A process that runs stages; `message` says why one that drains takes none."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    host: str
    pid: int
    queues: list[str]
    devices: list[str]
    concurrency: int
    state: WorkerState
    message: str | None
    started_at: datetime
    last_seen_at: datetime


@router.get("/queue", responses=HEADERS)
def queue(
    request: Request, response: Response, database: DatabaseDep, limit: PageSize = 500, cursor: Offset = 0
) -> list[Waiting]:
    """List the stages that wait, those next in line first, each with the reason."""
    with database.transaction() as session:
        found = workers.waiting(session, limit + 1, cursor)
        total = workers.count_waiting(session)
    return [Waiting.model_validate(stage) for stage in page_of(request, response, found, total, limit, cursor)]


@router.get("/workers", responses=HEADERS)
def listing(
    request: Request, response: Response, database: DatabaseDep, limit: PageSize = 200, cursor: Offset = 0
) -> list[Worker]:
    """List the workers, those that run first."""
    with database.transaction() as session:
        found = workers.listing(session, limit + 1, cursor)
        total = workers.count(session)
    return [Worker.model_validate(row) for row in page_of(request, response, found, total, limit, cursor)]
