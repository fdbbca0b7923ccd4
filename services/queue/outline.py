"""The plan of an experiment in few words: of each stage what tells it from others, without parameters and summary."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.db.tables import ExperimentStageRow, StageInputRow, StageRow
from services.queue.experiments import StageView


@dataclass(frozen=True)
class Outline:
    """A stage in the plan of one experiment; ``split`` is that of its parameters, and None where they have none."""

    key: str
    label: str
    state: str
    attempt: int
    message: str | None
    split: int | None
    reused: bool
    inputs: tuple[str, ...]


def of_experiment(session: Session, experiment_id: str) -> list[Outline]:
    """Return the stages of an experiment in the order of its plan; none where there is no such experiment."""
    mine = ExperimentStageRow.experiment_id == experiment_id
    edges = (
        select(StageInputRow.stage_key, StageInputRow.input_key)
        .join(ExperimentStageRow, ExperimentStageRow.stage_key == StageInputRow.stage_key)
        .where(mine)
        .order_by(StageInputRow.position)
    )
    inputs: dict[str, list[str]] = {}
    for key, input_key in session.execute(edges):
        inputs.setdefault(key, []).append(input_key)
    split = StageRow.params["split"].as_integer()
    query = (
        select(
            StageRow.key, StageRow.label, StageRow.state, StageRow.attempt, StageRow.message, split,
            ExperimentStageRow.reused,
        )
        .join(ExperimentStageRow, ExperimentStageRow.stage_key == StageRow.key)
        .where(mine)
        .order_by(ExperimentStageRow.position)
    )  # fmt: skip
    return [
        Outline(key, label, state, attempt, message, number, reused, tuple(inputs.get(key, ())))
        for key, label, state, attempt, message, number, reused in session.execute(query)
    ]


def in_full(session: Session, outlines: Sequence[Outline], keys: Collection[str]) -> list[StageView]:
    """Return those of some stages that have one of these keys, with all that is known of them."""
    rows = {row.key: row for row in session.scalars(select(StageRow).where(StageRow.key.in_(keys)))}
    return [StageView(rows[each.key], each.reused, each.inputs) for each in outlines if each.key in rows]
