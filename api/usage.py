"""What experiments use of the machines: curves of an experiment's attempts, and hours of everybody."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Self

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict

from api.deps import DatabaseDep, Id, Limit, Name
from services.queue import hours, use

router = APIRouter(tags=["usage"])

Points = list[float | None]


class Spent(BaseModel):
    """Hours of attempts, the failed ones among them.

    Attributes:
        unmeasured: attempts whose processor time nobody knows; they are no part of `cpu_hours`.
        hours: from the beginning of each attempt to its end.
        gpu_hours: these times the GPUs that the attempt held.
        cpu_hours: in which one processor computed.
        shared_hours, shared_gpu_hours: of attempts that other experiments needed too; of an owner, that others' did.
        failed_gpu_hours: of attempts that ended without a result.
    """

    model_config = ConfigDict(from_attributes=True)

    attempts: int
    unmeasured: int
    hours: float
    shared_hours: float
    gpu_hours: float
    shared_gpu_hours: float
    failed_gpu_hours: float
    cpu_hours: float


class OwnerSpent(Spent):
    """What one user's experiments used; an attempt counts once, however many of them share it."""

    owner: str


class ExperimentSpent(Spent):
    """What one experiment used, what it shares included."""

    id: str
    name: str
    owner: str
    dataset: str


class Usage(BaseModel):
    """What was used from `since` to `until`: in all, by owner, and of the experiments that used most."""

    since: datetime
    until: datetime
    total: Spent
    owners: list[OwnerSpent]
    experiments: list[ExperimentSpent]

    @classmethod
    def of(cls, found: hours.Hours) -> Self:
        """Shape sums."""
        return cls(
            since=found.since,
            until=found.until,
            total=Spent.model_validate(found.total),
            owners=[OwnerSpent.model_validate(row) for row in found.owners],
            experiments=[ExperimentSpent.model_validate(row) for row in found.experiments],
        )


class Curves(BaseModel):
    """A point every `spacing_seconds` from the beginning of an attempt; a gap is null, what nobody measured is empty.

    Attributes:
        cpu: processors.
        memory_bytes: pages that processes share are counted once.
        gpu: part of the time in which its GPUs computed, 0 to 1.
        gpu_memory_bytes: on all of its GPUs.
    """

    spacing_seconds: float
    cpu: Points
    memory_bytes: Points
    gpu: Points
    gpu_memory_bytes: Points


class AttemptUse(BaseModel):
    """What an attempt used of its machine; null is what nobody measured.

    Attributes:
        gpus: that it held.
        mean_cpu: processors, on average.
        mean_gpu: part of the time in which its GPUs computed, 0 to 1.
    """

    stage_key: str
    name: str
    attempt: int
    state: str
    device: str
    gpus: int
    seconds: float
    gpu_hours: float
    cpu_hours: float | None
    mean_cpu: float | None
    most_memory_bytes: float | None
    mean_gpu: float | None
    most_gpu_memory_bytes: float | None
    curves: Curves

    @classmethod
    def of(cls, found: use.AttemptUse) -> Self:
        """Shape an attempt's use."""
        curves = found.curves
        return cls(
            stage_key=found.stage_key,
            name=found.label,
            attempt=found.number,
            state=found.state,
            device=found.device,
            gpus=found.gpus,
            seconds=found.seconds,
            gpu_hours=found.gpus * found.seconds / 3600,
            cpu_hours=None if found.cpu_seconds is None else found.cpu_seconds / 3600,
            mean_cpu=curves.mean("cpu"),
            most_memory_bytes=curves.most("memory_bytes"),
            mean_gpu=curves.mean("gpu"),
            most_gpu_memory_bytes=curves.most("gpu_memory_bytes"),
            curves=Curves(
                spacing_seconds=curves.spacing,
                **{name: list(getattr(curves, name)) for name in Curves.model_fields.keys() - {"spacing_seconds"}},
            ),
        )


@router.get("/usage")
def usage(
    database: DatabaseDep,
    owner: Name | None = None,
    experiment: Name | None = None,
    dataset: Name | None = None,
    days: Annotated[int | None, Query(ge=1, le=36500)] = None,
    limit: Limit = 50,
) -> Usage:
    """Add up hours of GPUs, processors and attempts; of the last 30 `days`, or of an `experiment` all."""
    with database.transaction() as session:
        found = hours.hours(session, owner=owner, experiment=experiment, dataset=dataset, days=days, most=limit)
    return Usage.of(found)


@router.get("/experiments/{experiment_id}/use")
def of_experiment(experiment_id: Id, database: DatabaseDep, stage: Name | None = None) -> list[AttemptUse]:
    """Return what each attempt used of its machine; `stage` selects by name or by the beginning of the key."""
    with database.transaction() as session:
        found = use.of_experiment(session, experiment_id, stage)
    return [AttemptUse.of(each) for each in found]
