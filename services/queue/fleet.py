"""How the fleet is: the age of its last sweep, what waits and runs, who works, what MLflow has yet to hear."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from services import chores
from services.board import backfill
from services.board.backfill import Progress
from services.db.tables import ExperimentRow, StageRow, WorkerRow
from services.journal import tracker_state
from services.journal.tracker_state import TrackerView
from services.queue.housekeeping import SWEEP

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
        tracker: how it stands with MLflow.
        backfill: how far the hits of old results are; None before that began.
        untold_seconds: age of the oldest row that MLflow has yet to hear.
    """

    sweep_age_seconds: float | None
    experiments: dict[str, int]
    stages: dict[tuple[str, str], int]
    workers: dict[str, int]
    tracker: TrackerView
    backfill: Progress | None
    untold_seconds: float


def census(session: Session) -> Census:
    """Count."""
    tracker = tracker_state.view(session)
    now: datetime = session.execute(select(func.clock_timestamp())).scalar_one()
    untold = timedelta() if tracker.oldest_at is None else now - tracker.oldest_at
    stages = select(StageRow.queue, StageRow.state, func.count()).group_by(StageRow.queue, StageRow.state)
    experiments = select(ExperimentRow.state, func.count()).group_by(ExperimentRow.state)
    workers = select(WorkerRow.state, func.count()).group_by(WorkerRow.state)
    return Census(
        sweep_age_seconds=chores.age_seconds(session, SWEEP),
        experiments={state: number for state, number in session.execute(experiments)},  # noqa: C416
        stages={(queue, state): number for queue, state, number in session.execute(stages)},
        workers={state: number for state, number in session.execute(workers)},  # noqa: C416
        tracker=tracker,
        backfill=backfill.progress(session),
        untold_seconds=max(0.0, untold.total_seconds()),
    )
