"""What a stage used of its machine, as the page of its run in MLflow draws it under "System metrics".

MLflow's own monitor (`mlflow.system_metrics`) gives the names. Two of its meanings are narrower here: the numbers are
those of the stage's processes, not of the whole machine, and 100 % of a processor is one core, as `top` counts.
"""

from __future__ import annotations

from collections.abc import Iterator

from mlflow.entities import Metric
from sqlalchemy import select
from sqlalchemy.orm import Session, undefer

from services.db.tables import AttemptRow
from services.queue.curve import Curves

PREFIX = "system/"
"""By which MLflow's page tells such curves from others."""
PERCENT, MEGABYTES = 100.0, 1e-6


def points(session: Session, stage_key: str) -> Iterator[list[Metric]]:
    """Yield the points of each attempt at a stage that has ended; a step is a second since the first attempt began."""
    query = select(AttemptRow).where(AttemptRow.stage_key == stage_key, AttemptRow.finished_at.is_not(None))
    attempts = list(session.scalars(query.order_by(AttemptRow.number).options(undefer(AttemptRow.curves))))
    for attempt in attempts:
        later_seconds = (attempt.started_at - attempts[0].started_at).total_seconds()
        yield list(_of_attempt(attempt, later_seconds))


def _of_attempt(attempt: AttemptRow, later_seconds: float) -> Iterator[Metric]:
    curves, began = Curves.of(attempt.curves), int(1000 * attempt.started_at.timestamp())
    gpu = "gpu_0" if attempt.gpus == 1 else "gpu"  # of several the curves have the mean, and the sum of their memory
    units = {
        "cpu_utilization_percentage": (curves.cpu, PERCENT),
        "system_memory_usage_megabytes": (curves.memory_bytes, MEGABYTES),
        f"{gpu}_utilization_percentage": (curves.gpu, PERCENT),
        f"{gpu}_memory_usage_megabytes": (curves.gpu_memory_bytes, MEGABYTES),
    }
    for name, (values, unit) in units.items():
        for place, value in enumerate(values):
            if value is not None:
                seconds = place * curves.spacing
                milliseconds = began + round(1000 * seconds)
                yield Metric(f"{PREFIX}{name}", value * unit, milliseconds, int(later_seconds + seconds))
