"""The learning rate of each step, by hand and beside PyTorch's own schedules."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from services.specs import OptimizerSpec, PlateauSchedule, StepSchedule, TrainingSpec
from worker.training.schedule import learning_rate


def rates(accuracies: list[float], **training: Any) -> list[float]:
    """The rate of each epoch, and of one more, of one step each."""
    spec = TrainingSpec(optimizer=OptimizerSpec(learning_rate=1.0), **training)
    history = [{"train_accuracy": value, "train_loss": 1 - value} for value in accuracies]
    return [learning_rate(spec, history[:epoch], epoch + 1) for epoch in range(len(history) + 1)]


def test_the_rate_falls_after_each_milestone() -> None:
    assert rates([0.0] * 4, milestones=(2, 4)) == [1.0, 1.0, 0.1, 0.1, 0.01]
    assert rates([0.0] * 4, schedule=StepSchedule(milestones=(2, 4), factor=0.5)) == [1.0, 1.0, 0.5, 0.5, 0.25]


def test_iterations_are_counted_from_one() -> None:
    spec = TrainingSpec(
        schedule=StepSchedule(milestones=(6_000,), unit="iterations"), optimizer={"learning_rate": 1e-3}
    )
    assert learning_rate(spec, [], 6_000) == 1e-3
    assert learning_rate(spec, [], 6_001) == pytest.approx(1e-4)


@pytest.mark.parametrize("metric", ["train_accuracy", "train_loss"])
@pytest.mark.parametrize(("patience", "threshold"), [(0, 0.0), (1, 0.0), (1, 0.05), (3, 0.01)])
def test_a_plateau_is_pytorchs(metric: str, patience: int, threshold: float) -> None:
    values = torch.rand(60, generator=torch.Generator().manual_seed(patience)).tolist()
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, "max", factor=0.5, patience=patience, threshold=threshold, threshold_mode="abs", eps=0
    )
    expected = [1.0]
    for value in values:
        theirs.step(value)
        expected.append(optimizer.param_groups[0]["lr"])
    schedule = PlateauSchedule(metric=metric, factor=0.5, patience=patience, threshold=threshold)
    assert rates(values, schedule=schedule) == pytest.approx(expected)
    assert expected[-1] < 0.1


def test_a_plateau_stops_at_the_least_rate() -> None:
    assert min(rates([0.5] * 30, schedule=PlateauSchedule(patience=0, least_rate=1e-2))) == 1e-2


def test_two_schedules_are_one_too_many() -> None:
    with pytest.raises(ValidationError, match=r"milestones: got \[3\], allowed: none with a schedule"):
        TrainingSpec(milestones=(3,), schedule=PlateauSchedule())
