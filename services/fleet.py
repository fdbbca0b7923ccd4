"""How the fleet is: the age of its last sweep, what waits and runs, who works, what MLflow has yet to hear."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from services import chores
from services.db.tables import ExperimentRow, OutboxRow, StageRow, WorkerRow
from services.housekeeping import SWEEP

OVERDUE_SWEEPS = 10
"""After as many periods without a sweep, housekeeping counts as dead."""


@dataclass(frozen=True)
class Census:
    """Counts at one moment.

    Attributes:
        sweep_age_seconds: time since a sweep of any process succeeded; None before the first.
        experiments: how many are in which state.
        stages: how many are in which queue and state.
        workers: how many are in which state.
        untold: rows of the outbox that MLflow has yet to hear.
        untold_seconds: age of the oldest of them.
    """

    sweep_age_seconds: float | None
    experiments: dict[str, int]
    stages: dict[tuple[str, str], int]
    workers: dict[str, int]
    untold: int
    untold_seconds: float


def census(session: Session) -> Census:
    """Count."""
    oldest = func.extract("epoch", func.clock_timestamp() - func.min(OutboxRow.created_at))
    untold = select(func.count(), func.coalesce(oldest, 0)).where(OutboxRow.delivered_at.is_(None))
    count, age = session.execute(untold).one()
    stages = select(StageRow.queue, StageRow.state, func.count()).group_by(StageRow.queue, StageRow.state)
    experiments = select(ExperimentRow.state, func.count()).group_by(ExperimentRow.state)
    workers = select(WorkerRow.state, func.count()).group_by(WorkerRow.state)
    return Census(
        sweep_age_seconds=chores.age_seconds(session, SWEEP),
        experiments={state: number for state, number in session.execute(experiments)},  # noqa: C416
        stages={(queue, state): number for queue, state, number in session.execute(stages)},
        workers={state: number for state, number in session.execute(workers)},  # noqa: C416
        untold=count,
        untold_seconds=max(0.0, float(age)),
    )
