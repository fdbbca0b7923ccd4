"""What a trial has reached by now: the mean of its networks' accuracies, by epoch and in the end."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Float, select
from sqlalchemy.orm import Session

from services.db.tables import ExperimentRow, ExperimentStageRow, OutboxRow, StageInputRow, StageRow
from services.specs.sweep import Objective


@dataclass(frozen=True)
class Learner:
    """A stage that trains a network of a trial.

    Attributes:
        by_epoch: its accuracy after each epoch that has ended, from 1, between 0 and 1.
        kept: that of the epoch whose weights it kept, once it has succeeded.
    """

    by_epoch: Mapping[int, float] = field(default_factory=dict)
    kept: float | None = None


@dataclass(frozen=True)
class Look:
    """How far a trial is.

    Attributes:
        state: of its experiment; None where that was deleted.
        message: why it did not succeed.
        learners: what trains its networks, one for each network, split and seed.
    """

    state: str | None
    message: str | None
    learners: tuple[Learner, ...]

    @property
    def by_epoch(self) -> dict[int, float]:
        """The mean over all networks after each epoch that all of them have ended, or whose training has."""
        return mean_by_epoch(self.learners)

    @property
    def kept(self) -> float | None:
        """The mean over all networks in the end, or None before that."""
        values = [learner.kept for learner in self.learners]
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if known and len(known) == len(values) else None


def mean_by_epoch(learners: Sequence[Learner]) -> dict[int, float]:
    """Return the mean over networks by epoch; one whose training was shorter counts with what it kept."""
    last = max((epoch for learner in learners for epoch in learner.by_epoch), default=0)
    found: dict[int, float] = {}
    for epoch in range(1, last + 1):
        values = [learner.by_epoch.get(epoch, learner.kept) for learner in learners]
        known = [value for value in values if value is not None]
        if len(known) < len(values):
            break
        found[epoch] = sum(known) / len(known)
    return found


def look(session: Session, experiment_ids: Collection[str], objective: Objective) -> dict[str, Look]:
    """Return how far trials are, by the ids of their experiments."""
    rows = session.scalars(select(ExperimentRow).where(ExperimentRow.id.in_(experiment_ids)))
    stages = _learning(session, experiment_ids)
    values = _by_epoch(session, {row.key for own in stages.values() for row in own}, f"{objective}_accuracy")
    found = {}
    for row in rows:
        learners = tuple(
            Learner(values.get(stage.key, {}), _kept(stage, f"{objective}_accuracy")) for stage in stages[row.id]
        )
        found[row.id] = Look(row.state, row.message, learners)
    return found


def _kept(stage: StageRow, metric: str) -> float | None:
    value: Any = (stage.summary or {}).get(metric) if stage.state in ("succeeded", "evicted") else None
    return float(value) if isinstance(value, int | float) else None


def _learning(session: Session, experiment_ids: Collection[str]) -> dict[str, list[StageRow]]:
    """Return the stages that train the networks of trials: temporal ones, and ConvNets that nothing comes after."""
    query = (
        select(ExperimentStageRow.experiment_id, StageRow)
        .join(StageRow, StageRow.key == ExperimentStageRow.stage_key)
        .where(ExperimentStageRow.experiment_id.in_(experiment_ids), StageRow.kind.in_(("finetune", "train")))
        .order_by(ExperimentStageRow.position)
    )
    rows = [(experiment_id, row) for experiment_id, row in session.execute(query)]
    tuned = {row.key for _, row in rows if row.kind == "finetune"}
    taken = _taken(session, experiment_ids, tuned)
    found: dict[str, list[StageRow]] = {experiment_id: [] for experiment_id in experiment_ids}
    for experiment_id, row in rows:
        if row.kind == "train" or (experiment_id, row.key) not in taken:
            found[experiment_id].append(row)
    return found


def _taken(session: Session, experiment_ids: Collection[str], keys: Collection[str]) -> set[tuple[str, str]]:
    """Return which of some stages are inputs within the plan of an experiment."""
    query = (
        select(ExperimentStageRow.experiment_id, StageInputRow.input_key)
        .join(StageInputRow, StageInputRow.stage_key == ExperimentStageRow.stage_key)
        .where(ExperimentStageRow.experiment_id.in_(experiment_ids), StageInputRow.input_key.in_(keys))
    )
    return {(experiment_id, key) for experiment_id, key in session.execute(query)}


def _by_epoch(session: Session, keys: Collection[str], metric: str) -> dict[str, dict[int, float]]:
    value = OutboxRow.data["value"].astext.cast(Float)
    query = (
        select(OutboxRow.stage_key, OutboxRow.step, value)
        .where(OutboxRow.stage_key.in_(keys), OutboxRow.experiment_id.is_(None))
        .where(OutboxRow.kind == "metric", OutboxRow.name == metric)
        .order_by(OutboxRow.stage_key, OutboxRow.step)
    )
    found: dict[str, dict[int, float]] = {}
    for key, step, number in session.execute(query):
        found.setdefault(key, {})[step] = number
    return found
