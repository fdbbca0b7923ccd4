"""How the learning rate falls: at given epochs or iterations, or where training no longer improves."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from services.specs.base import Spec

Factor = Annotated[float, Field(gt=0, lt=1)]


class StepSchedule(Spec):
    """The rate falls after each milestone (MATDL: after so many iterations)."""

    kind: Literal["steps"] = "steps"
    milestones: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1, max_length=100)]
    """Epochs or iterations after which the rate falls, both counted from 1."""
    unit: Literal["epochs", "iterations"] = "epochs"
    """An iteration is one update of the weights."""
    factor: Factor = 0.1
    """By which the rate is multiplied."""


class PlateauSchedule(Spec):
    """The rate falls where training no longer improves (TS-LSTM, sec. 3.4.1: when the accuracy is saturated).

    As PyTorch's `ReduceLROnPlateau`, on the numbers of whole epochs while they are trained.
    """

    kind: Literal["plateau"] = "plateau"
    metric: Literal["train_accuracy", "train_loss"] = "train_accuracy"
    factor: Factor = 0.1
    """By which the rate is multiplied."""
    patience: Annotated[int, Field(ge=0, le=10_000)] = 5
    """Epochs in a row without a better value that are let pass; the next one lets the rate fall."""
    threshold: Annotated[float, Field(ge=0, lt=1)] = 1e-3
    """How much better a value must be to count, as a difference: 0.001 of accuracy is 0.1 points."""
    least_rate: Annotated[float, Field(ge=0)] = 0.0
    """Below which the rate does not fall."""


ScheduleSpec = Annotated[StepSchedule | PlateauSchedule, Field(discriminator="kind")]
