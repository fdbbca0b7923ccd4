"""What waits and why, and who works."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, Self

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict

from api.deps import DatabaseDep, ForesightDep
from api.paging import HEADERS, Offset, PageSize, page_of
from api.shapes import Seconds
from services.db.tables import WorkerRow
from services.queue import workers
from services.queue.outlook import Outlook
from services.queue.use import RunningStage, by_worker
from services.queue.workers import WaitingStage

router = APIRouter(tags=["queue"])

WorkerState = Literal["alive", "draining", "stopped", "lost"]


class Waiting(BaseModel):
    """A stage that does not run yet.

    Attributes:
        position: its place in line once its inputs are there.
        starts_in_seconds: about when it starts, by the queue before it; null is unknown.
    """

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
    starts_in_seconds: Seconds | None = None

    @classmethod
    def of(cls, found: WaitingStage, ahead: Outlook) -> Self:
        """Shape a stage that waits."""
        shaped = cls.model_validate(found)
        shaped.starts_in_seconds = Seconds.of(ahead.starts.get(found.key))
        return shaped


class GpuUse(BaseModel):
    """What a GPU of a worker does, whoever uses it; null is what it does not say."""

    name: str
    busy: float | None
    memory_bytes: int | None
    memory_total_bytes: int | None


class MachineUse(BaseModel):
    """What a worker's machine did when it was last seen, whoever used it; `cpu` is a part of its `cores`, 0 to 1."""

    cpu: float
    cores: int
    memory_bytes: int
    memory_total_bytes: int
    gpus: list[GpuUse]


class Work(BaseModel):
    """A stage that a worker runs, and what it uses now; null is what nobody measured, or knows.

    Attributes:
        gpus: that it holds.
        cpu: processors.
        gpu: part of the time in which its GPUs compute, 0 to 1.
    """

    key: str
    label: str
    owner: str
    started_at: datetime | None
    time_left_seconds: Seconds | None
    gpus: int
    cpu: float | None
    memory_bytes: float | None
    gpu: float | None
    gpu_memory_bytes: float | None

    @classmethod
    def of(cls, found: RunningStage, ahead: Outlook) -> Self:
        """Shape a stage that runs."""
        row = found.row
        return cls(
            key=row.key,
            label=row.label,
            owner=row.owner,
            started_at=row.started_at,
            time_left_seconds=Seconds.of(ahead.left.get(row.key)),
            gpus=found.gpus,
            **found.now._asdict(),
        )


class Worker(BaseModel):
    """A process that runs stages.

    Attributes:
        message: why one that drains takes none.
        use: what its machine does; null of one that is gone, or has just come.
        work: what it runs.
    """

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
    use: MachineUse | None
    work: list[Work] = []

    @classmethod
    def of(cls, row: WorkerRow, work: Sequence[RunningStage], ahead: Outlook) -> Self:
        """Shape a row of the worker table, and what it runs."""
        shaped = cls.model_validate(row)
        shaped.work = [Work.of(each, ahead) for each in work]
        return shaped


@router.get("/queue", responses=HEADERS)
def queue(
    request: Request,
    response: Response,
    database: DatabaseDep,
    foresight: ForesightDep,
    limit: PageSize = 500,
    cursor: Offset = 0,
) -> list[Waiting]:
    """List the stages that wait, those next in line first, each with the reason and about when it starts."""
    with database.transaction() as session:
        found = workers.waiting(session, limit + 1, cursor)
        total = workers.count_waiting(session)
        ahead = foresight.look(session)
    return [Waiting.of(stage, ahead) for stage in page_of(request, response, found, total, limit, cursor)]


@router.get("/workers", responses=HEADERS)
def listing(
    request: Request,
    response: Response,
    database: DatabaseDep,
    foresight: ForesightDep,
    limit: PageSize = 200,
    cursor: Offset = 0,
) -> list[Worker]:
    """List the workers, those that run first, with what each runs and uses."""
    with database.transaction() as session:
        found = workers.listing(session, limit + 1, cursor)
        total = workers.count(session)
        ahead = foresight.look(session)
        work = by_worker(session)
    rows = page_of(request, response, found, total, limit, cursor)
    return [Worker.of(row, work.get(row.id, ()), ahead) for row in rows]
