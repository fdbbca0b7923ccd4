"""What the attempts at an experiment's stages used of their machines, and what those that run use now."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session

from services.db.tables import AttemptRow, ExperimentStageRow, StageRow
from services.queue import experiments
from services.queue.curve import Curves, Sample


@dataclass(frozen=True)
class AttemptUse:
    """What one attempt used.

    Attributes:
        label: name of its stage.
        gpus: that it held.
        seconds: since it began, or that it took.
        cpu_seconds: that processors computed for it; None where nobody measured it.
        curves: what it used when.
    """

    stage_key: str
    label: str
    number: int
    state: str
    device: str
    gpus: int
    seconds: float
    cpu_seconds: float | None
    curves: Curves


def of_experiment(
    session: Session, experiment_id: str, stage: str | None = None, keys: Collection[str] | None = None
) -> list[AttemptUse]:
    """Return every attempt at a stage of an experiment, in the order of its plan.

    Args:
        session: a transaction of the caller.
        experiment_id: whose stages.
        stage: only those with this name, or whose key begins so.
        keys: only those of these stages.

    Raises:
        NotFound: no such experiment, or it has no such stage; the message has the names.
    """
    experiments.get(session, experiment_id)
    chosen = None if stage is None else experiments.keys_named(session, experiment_id, stage)
    ended_at = func.coalesce(AttemptRow.finished_at, func.clock_timestamp())
    query = (
        select(
            *(AttemptRow.stage_key, StageRow.label, AttemptRow.number, AttemptRow.state, AttemptRow.device),
            *(AttemptRow.gpus, func.extract("epoch", ended_at - AttemptRow.started_at)),
            *(AttemptRow.cpu_seconds, AttemptRow.curves),
        )
        .join(StageRow, StageRow.key == AttemptRow.stage_key)
        .join(ExperimentStageRow, ExperimentStageRow.stage_key == StageRow.key)
        .where(ExperimentStageRow.experiment_id == experiment_id)
        .order_by(ExperimentStageRow.position, AttemptRow.number)
    )
    if keys is not None:
        query = query.where(AttemptRow.stage_key.in_(keys))
    return [
        AttemptUse(key, label, number, state, device, gpus, float(seconds), cpu_seconds, Curves.of(curves))
        for key, label, number, state, device, gpus, seconds, cpu_seconds, curves in session.execute(query)
        if chosen is None or key in chosen
    ]


@dataclass(frozen=True)
class RunningStage:
    """A stage that runs, the GPUs that it holds, and what it used when it was measured last."""

    row: StageRow
    gpus: int
    now: Sample


RUNNING = (
    select(StageRow, AttemptRow.gpus, AttemptRow.curves)
    .join(AttemptRow, and_(AttemptRow.stage_key == StageRow.key, AttemptRow.number == StageRow.attempt))
    .where(StageRow.state == "running")
    .order_by(StageRow.started_at, StageRow.key)
)


def running(session: Session, limit: int = 500) -> list[RunningStage]:
    """Return the stages that run, those that began first at the front."""
    found = session.execute(RUNNING.limit(limit))
    return [RunningStage(row, gpus, Curves.of(curves).last()) for row, gpus, curves in found]


def running_of(session: Session, experiment_ids: Collection[str]) -> dict[str, list[RunningStage]]:
    """Return the stages of some experiments that run, by experiment; those of which none runs are left out."""
    query = RUNNING.join(ExperimentStageRow, ExperimentStageRow.stage_key == StageRow.key)
    query = query.where(ExperimentStageRow.experiment_id.in_(experiment_ids))
    found: dict[str, list[RunningStage]] = {}
    for row, gpus, curves, experiment_id in session.execute(query.add_columns(ExperimentStageRow.experiment_id)):
        found.setdefault(experiment_id, []).append(RunningStage(row, gpus, Curves.of(curves).last()))
    return found


def by_worker(session: Session) -> dict[str, list[RunningStage]]:
    """Return the stages that run, by the worker that runs them."""
    found: dict[str, list[RunningStage]] = {}
    for stage in running(session):
        found.setdefault(stage.row.worker_id or "", []).append(stage)
    return found
