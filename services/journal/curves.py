"""Curves of training, from the rows that MLflow was told and that stay: whoever reads them asks Postgres alone."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Float, func, select
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.orm import Session

from services.db.tables import ExperimentStageRow, OutboxRow, StageRow

METRICS = ("train_loss", "validation_loss", "test_loss", "train_accuracy", "validation_accuracy", "test_accuracy")
"""Those of an epoch that are drawn; losses are means over samples, accuracies between 0 and 1."""

DRAWN = (OutboxRow.experiment_id.is_(None), OutboxRow.kind == "metric", OutboxRow.name.in_(METRICS))
"""Rows that are points of such curves."""


@dataclass(frozen=True)
class Curve:
    """One metric of one stage that trains; a step that two attempts told stands once.

    Attributes:
        stage: its label, such as ``train rgb, split 1, seed 0``.
        stage_key: of the stage.
        metric: one of ``METRICS``.
        epochs: from 1, rising.
        values: one for each epoch.
    """

    stage: str
    stage_key: str
    metric: str
    epochs: tuple[int, ...]
    values: tuple[float, ...]


def begun(session: Session, experiment_id: str) -> bool:
    """Say whether an epoch of an experiment's stages has ended."""
    query = (
        select(OutboxRow.id)
        .join(ExperimentStageRow, ExperimentStageRow.stage_key == OutboxRow.stage_key)
        .where(ExperimentStageRow.experiment_id == experiment_id, *DRAWN)
    )
    return session.scalar(query.limit(1)) is not None


def of_experiment(session: Session, experiment_id: str) -> list[Curve]:
    """Return the curves of an experiment's stages in the order of its plan."""
    value = OutboxRow.data["value"].astext.cast(Float)
    query = (
        select(
            StageRow.label,
            StageRow.key,
            OutboxRow.name,
            func.array_agg(aggregate_order_by(OutboxRow.step, OutboxRow.step)),
            func.array_agg(aggregate_order_by(value, OutboxRow.step)),
        )
        .join(ExperimentStageRow, ExperimentStageRow.stage_key == StageRow.key)
        .join(OutboxRow, OutboxRow.stage_key == StageRow.key)
        .where(
            ExperimentStageRow.experiment_id == experiment_id,
            *DRAWN,
        )
        .group_by(ExperimentStageRow.position, StageRow.label, StageRow.key, OutboxRow.name)
        .order_by(ExperimentStageRow.position)
    )
    found = [
        Curve(label, key, name, tuple(steps), tuple(values))
        for label, key, name, steps, values in session.execute(query)
    ]
    return sorted(found, key=lambda curve: METRICS.index(curve.metric))
