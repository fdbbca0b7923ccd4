"""A sweep: an experiment, a space over its fields, and how it is searched."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, model_validator

from services.errors import refused
from services.specs.base import Spec
from services.texts import ONE_LINE

Objective = Literal["validation", "test"]
SamplerKind = Literal["grid", "random", "tpe"]
PrunerKind = Literal["none", "median", "successive_halving"]
Number = Annotated[int | float, Field(ge=-1e15, le=1e15, allow_inf_nan=False)]

MAX_TRIALS = 1000
MAX_AXES = 20
MAX_VALUES = 1_000_000


class AxisSpec(Spec):
    """The values of one field: `choices`, or all between `low` and `high`, both of them included."""

    choices: Annotated[tuple[JsonValue, ...], Field(min_length=1, max_length=100)] | None = None
    """Values of any form that the field may have, such as `[[256], [512]]` for `model.hidden`."""
    low: Number | None = None
    high: Number | None = None
    log: bool = False
    """Whether a factor counts alike everywhere, as for a learning rate."""
    step: Number | None = None
    """Between two values; none for every number, or for every whole number where `low` and `high` are whole."""

    @property
    def is_whole(self) -> bool:
        """Whether a range is of whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int) and not isinstance(self.step, float)

    @model_validator(mode="after")
    def _one_form(self) -> AxisSpec:
        given = self.model_dump(mode="json", exclude_unset=True)
        if self.choices is not None:
            if self.low is not None or self.high is not None or self.log or self.step is not None:
                raise refused("", given, "choices, or low and high, and not both")
            texts = [json.dumps(choice, sort_keys=True) for choice in self.choices]
            if len(set(texts)) != len(texts):
                raise refused("choices", list(self.choices), "each value once")
        elif self.low is None or self.high is None:
            raise refused("", given, "choices, or low and high")
        return self

    @model_validator(mode="after")
    def _range(self) -> AxisSpec:
        if self.low is None or self.high is None:
            return self
        if self.low >= self.high:
            raise refused("high", self.high, f"above low = {self.low}")
        if self.log and self.low <= 0:
            raise refused("low", self.low, "above 0 with log")
        if self.step is not None and self.log:
            raise refused("step", self.step, "null with log")
        if self.step is not None and not 0 < self.step <= self.high - self.low:
            raise refused("step", self.step, f"above 0 and at the most high - low = {self.high - self.low:g}")
        if self.step is not None and (self.high - self.low) / self.step > MAX_VALUES:
            raise refused("step", self.step, f"one that makes up to {MAX_VALUES} values of low to high")
        return self


class SamplerSpec(Spec):
    """Who chooses the next configuration; the same seed and the same earlier trials give the same one."""

    kind: SamplerKind = "tpe"
    """`grid` tries every combination once, in a random order; `random` draws each by itself; `tpe` draws where earlier
    trials did well (Optuna's tree-structured Parzen estimator)."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    startup_trials: Annotated[int, Field(ge=1, le=MAX_TRIALS)] = 10
    """Random ones before `tpe` has a say; others do not read it."""


class PrunerSpec(Spec):
    """Which trials end early, by their accuracy after each epoch."""

    kind: PrunerKind = "median"
    """`median` ends a trial that is worse than the median of the earlier ones at the same epoch;
    `successive_halving` lets the best part go on after `min_epochs`, and after `factor` times as many, and so on."""
    startup_trials: Annotated[int, Field(ge=0, le=MAX_TRIALS)] = 5
    """Trials that must have ended before `median` ends one."""
    warmup_epochs: Annotated[int, Field(ge=0, le=10_000)] = 0
    """Epochs of each trial in which `median` ends none."""
    min_epochs: Annotated[int, Field(ge=1, le=10_000)] = 1
    """Of each trial before `successive_halving` looks at it."""
    factor: Annotated[int, Field(ge=2, le=100)] = 4
    """One of so many trials goes on with `successive_halving`."""


class BudgetSpec(Spec):
    """What a sweep may take; the first that is used up ends it. Trials that run then run to their end."""

    trials: Annotated[int, Field(ge=1, le=MAX_TRIALS)] | None = None
    gpu_hours: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Of the trials' own stages on GPUs; what was there before costs nothing."""

    @model_validator(mode="after")
    def _an_end(self) -> BudgetSpec:
        if self.trials is None and self.gpu_hours is None:
            raise refused("", {}, "trials, gpu_hours, or both")
        return self


class SweepSpec(Spec):
    """Trials of one experiment with other values of some fields, and the best of them trained as a whole at the end."""

    name: Annotated[str, Field(min_length=1, max_length=150, pattern=ONE_LINE)] | None = None
    """None for the experiment's."""
    experiment: dict[str, JsonValue]
    """As it would be submitted: a spec, or a recipe with what differs from it."""
    space: Annotated[dict[str, AxisSpec], Field(min_length=1, max_length=MAX_AXES)] | None = None
    """What is tried, by the dotted name of a field, such as `training.optimizer.learning_rate`; none for the default
    space of its network."""
    sampler: SamplerSpec = SamplerSpec()
    pruner: PrunerSpec = PrunerSpec()
    budget: BudgetSpec = BudgetSpec(trials=20)
    parallel: Annotated[int, Field(ge=1, le=64)] = 2
    """Trials that run at once."""
    objective: Objective = "validation"
    """`validation`: the accuracy on groups of clips that are held out of the train list. `test`, the accuracy on the
    test list, has every number of the sweep flagged: it says more than it should."""
    splits: Annotated[tuple[Annotated[int, Field(ge=1, le=3)], ...], Field(min_length=1, max_length=3)] | None = None
    """On which trials are tried; none for the experiment's first. The best is trained on all of the experiment's."""
    seeds: Annotated[tuple[Annotated[int, Field(ge=0, lt=2**31)], ...], Field(min_length=1, max_length=20)] | None = (
        None
    )
    """Likewise."""

    @model_validator(mode="after")
    def _values_once(self) -> SweepSpec:
        for field in ("splits", "seeds"):
            values: Any = getattr(self, field) or ()
            if len(set(values)) != len(values):
                raise refused(field, list(values), "each value once")
        return self

    @model_validator(mode="after")
    def _grid_is_finite(self) -> SweepSpec:
        if self.sampler.kind == "grid":
            for name, axis in (self.space or {}).items():
                if axis.choices is None and not axis.is_whole and axis.step is None:
                    given = axis.model_dump(mode="json", exclude_unset=True)
                    raise refused(f"space.{name}", given, "choices, whole numbers, or a step, with sampler grid")
        return self
