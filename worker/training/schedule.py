"""The learning rate of each step: a pure function of the spec, of the epochs that are done, and of the step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf

from services.specs import PlateauSchedule, TrainingSpec

History = list[dict[str, float]]
"""A row of numbers for each epoch that is done."""


def learning_rate(spec: TrainingSpec, history: Sequence[Mapping[str, float]], iteration: int) -> float:
    """Return the rate of one update of the weights.

    Args:
        spec: first rate, and how it falls.
        history: of the epochs before, with ``train_accuracy`` and ``train_loss``.
        iteration: number of the update over all epochs, from 1.
    """
    first, schedule, epoch = spec.optimizer.learning_rate, spec.schedule, len(history) + 1
    if schedule is None:
        return float(first / 10 ** sum(epoch > milestone for milestone in spec.milestones))
    if isinstance(schedule, PlateauSchedule):
        return float(max(first * schedule.factor ** _plateaus(schedule, history), min(first, schedule.least_rate)))
    done = epoch if schedule.unit == "epochs" else iteration
    return float(first * schedule.factor ** sum(done > milestone for milestone in schedule.milestones))


def _plateaus(schedule: PlateauSchedule, history: Sequence[Mapping[str, float]]) -> int:
    """Count how often the value has stayed where it was for longer than the patience."""
    sign = 1 if schedule.metric == "train_accuracy" else -1
    best, waited, found = -inf, 0, 0
    for row in history:
        value = sign * row[schedule.metric]
        if value > best + schedule.threshold:
            best, waited = value, 0
        else:
            waited += 1
        if waited > schedule.patience:
            waited, found = 0, found + 1
    return found
