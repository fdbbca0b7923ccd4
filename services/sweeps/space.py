"""Which configurations a sweep may try: a base experiment, axes over its fields, and the spec of each point.

Everything is checked before anything runs: an axis whose field is not there, and the corners of the space.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import product
from math import prod
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from services.errors import InvalidRequest
from services.recipes import laid_over, resolve
from services.specs import ExperimentSpec
from services.specs.spaces import default_space
from services.specs.sweep import MAX_TRIALS, AxisSpec, Objective, SweepSpec

FIXED: Mapping[str, str] = MappingProxyType(
    {
        "name": "a trial is named after its number",
        "dataset": "trials are compared with each other",
        "splits": "trials are compared with each other",
        "seeds": "trials are compared with each other",
        "streams": "trials are compared with each other",
        "fusion": "the accuracy on held-out clips is that of each network by itself",
        "evaluation.average": "the accuracy on held-out clips does not depend on it",
        "evaluation.positions": "the accuracy on held-out clips does not depend on it",
        "evaluation.localization": "the accuracy on held-out clips does not depend on it",
        "priority": "it changes no number",
        "refresh": "it changes no number",
        "resources": "it changes no number",
    }
)
"""Fields that no axis may have, and why."""
CHOOSING = ("selection", "validation_share", "patience")
"""Of every training: the sweep's `objective` decides on them."""
MAX_GRID = 100_000
"""Points of a grid, all of which Optuna holds in memory."""
CORNERS = 256
"""That are tried, the rest of a larger space by drawing."""

Json = dict[str, Any]


class RefusedPoint(Exception):
    """A configuration that the spec refuses; ``error`` says why."""

    def __init__(self, values: Mapping[str, Any], error: ValidationError) -> None:
        super().__init__(f"with {worded(values)}")
        self.values, self.error = values, error


@dataclass(frozen=True)
class Space:
    """A base experiment and the axes along which trials differ from it.

    ``recipe`` is the one from which the base was made.
    """

    base: ExperimentSpec
    axes: Mapping[str, AxisSpec]
    recipe: str | None = None

    def point(self, values: Mapping[str, Any]) -> ExperimentSpec:
        """Return the experiment with these values of some axes.

        Raises:
            RefusedPoint: it cannot be one.
        """
        return self._checked(values, self._laid(values))

    def trial(self, sweep: SweepSpec, number: int, values: Mapping[str, Any]) -> ExperimentSpec:
        """Return what a trial trains: on its splits and seeds, each network's epoch chosen by the objective.

        Raises:
            RefusedPoint: it cannot be an experiment.
        """
        body = self._laid(values)
        body |= {"splits": list(splits_of(sweep, self.base)), "seeds": list(seeds_of(sweep, self.base))}
        body["name"] = f"{name_of(sweep, self.base)}, trial {number}"
        share = body["training"]["validation_share"]
        for training in _trainings(body):
            training.update(selection=sweep.objective, validation_share=share)
        return self._checked(values, body)

    def best(self, sweep: SweepSpec, values: Mapping[str, Any]) -> ExperimentSpec:
        """Return the best configuration as it is trained in the end: on the whole train list of every split.

        Its last epoch counts. One that was found on the test list counts as such: its epoch is chosen there too.

        Raises:
            RefusedPoint: it cannot be an experiment.
        """
        body = self._laid(values)
        body["name"] = f"{name_of(sweep, self.base)}, best"
        for training in _trainings(body):
            training.update(_chosen_in_the_end(sweep.objective))
        return self._checked(values, body)

    @property
    def size(self) -> int | None:
        """How many points there are; None where a range has no step."""
        counts = [count_of(axis) for axis in self.axes.values()]
        return None if None in counts else prod(count for count in counts if count is not None)

    def _laid(self, values: Mapping[str, Any]) -> Json:
        body = self.base.model_dump(mode="json")
        for path, value in values.items():
            body = laid_over(body, _nested(path.split("."), value))
        return body

    def _checked(self, values: Mapping[str, Any], body: Json) -> ExperimentSpec:
        try:
            return ExperimentSpec.model_validate_json(json.dumps(body), strict=True)
        except ValidationError as error:
            raise RefusedPoint(values, error) from error


def opened(sweep: SweepSpec) -> Space:
    """Return the space of a sweep, all of it checked.

    Raises:
        InvalidRequest: an ensemble, an unknown recipe, split or field, axes that overlap.
        pydantic.ValidationError: the experiment is none.
        RefusedPoint: the spec refuses a corner of the space.
    """
    if "members" in sweep.experiment:
        allowed = "an experiment that trains; an ensemble has no configuration of its own"
        raise InvalidRequest("experiment.members", "an ensemble", allowed)
    try:
        base, recipe = resolve(sweep.experiment)
    except InvalidRequest as error:
        raise InvalidRequest(f"experiment.{error.field}", error.value, error.allowed) from error
    for field in ("splits", "seeds"):
        wanted, there = getattr(sweep, field) or (), getattr(base, field)
        if any(value not in there for value in wanted):
            raise InvalidRequest(field, list(wanted), f"some of the experiment's, {', '.join(map(str, there))}")
    axes = dict(default_space(base) if sweep.space is None else sweep.space)
    _require_fields(base.model_dump(mode="json"), axes)
    space = Space(base, axes, recipe)
    if sweep.sampler.kind == "grid":
        _require_grid(space)
    for corner in corners(axes):
        space.trial(sweep, 0, corner)
        space.best(sweep, corner)
    return space


def _require_grid(space: Space) -> None:
    """Refuse a grid without an end, or of more points than memory should hold."""
    if space.size is None:
        name = next(name for name, axis in space.axes.items() if count_of(axis) is None)
        allowed = "choices, whole numbers, or a step, with sampler grid"
        raise InvalidRequest(f"space.{name}", space.axes[name].model_dump(exclude_unset=True), allowed)
    if space.size > MAX_GRID:
        counts = {name: count_of(axis) for name, axis in space.axes.items()}
        raise InvalidRequest("space", counts, f"up to {MAX_GRID} points with sampler grid; another sampler draws some")


def trials_of(sweep: SweepSpec, space: Space) -> int:
    """Return how many trials a sweep may have: its budget, and no more than a grid has points."""
    most = sweep.budget.trials or MAX_TRIALS
    return min(most, space.size or most) if sweep.sampler.kind == "grid" else most


def splits_of(sweep: SweepSpec, base: ExperimentSpec) -> tuple[int, ...]:
    """Return the splits on which trials are tried."""
    return sweep.splits or base.splits[:1]


def seeds_of(sweep: SweepSpec, base: ExperimentSpec) -> tuple[int, ...]:
    """Return the seeds with which trials are tried."""
    return sweep.seeds or base.seeds[:1]


def name_of(sweep: SweepSpec, base: ExperimentSpec) -> str:
    """Return what people call a sweep."""
    return sweep.name or base.name[:150]


def count_of(axis: AxisSpec) -> int | None:
    """Return how many values an axis has, or None where there is no end of them."""
    if axis.choices is not None:
        return len(axis.choices)
    assert axis.low is not None
    assert axis.high is not None
    step = _step(axis)
    return None if step is None else int((axis.high - axis.low) / step + 1e-9) + 1


def grid_of(axis: AxisSpec) -> tuple[Any, ...] | None:
    """Return every value of an axis, or None where there is no end of them."""
    if axis.choices is not None:
        return axis.choices
    count = count_of(axis)
    return None if count is None else tuple(_point(axis, number) for number in range(count))


def ends_of(axis: AxisSpec) -> tuple[Any, Any]:
    """Return the first and the last value of a range; with a step the last one may lie below its end."""
    count = count_of(axis)
    return (axis.low, axis.high) if count is None else (_point(axis, 0), _point(axis, count - 1))


def _step(axis: AxisSpec) -> float | None:
    return axis.step or (1 if axis.is_whole else None)


def _point(axis: AxisSpec, number: int) -> float:
    assert axis.low is not None
    point = axis.low + number * (_step(axis) or 0)
    return point if axis.is_whole else round(float(point), 12)


def corners(axes: Mapping[str, AxisSpec]) -> Iterator[Json]:
    """Yield the extreme points of a space: all of a small one, of a large one each axis alone and some by drawing."""
    ends = {name: _ends(axis) for name, axis in axes.items()}
    if prod(map(len, ends.values())) <= CORNERS:
        yield from (dict(zip(ends, values, strict=True)) for values in product(*ends.values()))
        return
    for name, values in ends.items():
        yield from ({name: value} for value in values)
    drawn = random.Random(0)  # noqa: S311 - the same ones each time
    yield from ({name: drawn.choice(values) for name, values in ends.items()} for _ in range(CORNERS))


def worded(values: Mapping[str, Any]) -> str:
    """Write a configuration on one line."""
    return ", ".join(f"{name} = {json.dumps(value)}" for name, value in values.items())


def _ends(axis: AxisSpec) -> Sequence[Any]:
    if axis.choices is not None:
        return axis.choices
    return ends_of(axis)


def _nested(steps: Sequence[str], value: Any) -> Json:
    first, *rest = steps
    return {first: _nested(rest, value) if rest else value}


def _trainings(body: Json) -> Iterator[Json]:
    """Yield the settings of every training of an experiment."""
    yield body["training"]
    for part in (body, body["flow_stream"] or {}):
        if part is not body and part.get("training"):
            yield part["training"]
        backbone = part.get("backbone")
        if backbone and backbone["finetune"]:
            yield backbone["finetune"]


def _chosen_in_the_end(objective: Objective) -> Json:
    return {"selection": "test"} if objective == "test" else {"selection": "last", "patience": None}


def _require_fields(base: Json, axes: Mapping[str, AxisSpec]) -> None:
    """Refuse axes of fields that are not there, that no trial may differ in, or of which one holds another."""
    known = list(_paths(base))
    for path, axis in axes.items():
        _require_field(base, path, known)
        for touched in (path, *_within(path, axis)):
            _require_free(path, touched)
        within = next((other for other in axes if path.startswith(f"{other}.")), None)
        if within is not None:
            raise InvalidRequest(f"space.{path}", path, f"no field of {within}, which has an axis of its own")


def _require_free(path: str, touched: str) -> None:
    """Refuse what an axis, or a choice of it that is an object, may not change."""
    fixed = next((name for name in FIXED if touched == name or touched.startswith(f"{name}.")), None)
    if fixed is not None:
        raise InvalidRequest(f"space.{path}", touched, f"another field: {FIXED[fixed]}")
    if touched.rpartition(".")[2] in CHOOSING:
        raise InvalidRequest(f"space.{path}", touched, "another field: the sweep's objective decides on it")


def _within(path: str, axis: AxisSpec) -> Iterator[str]:
    """Yield the fields that the choices of an axis change, where these are objects."""
    for choice in axis.choices or ():
        if isinstance(choice, dict):
            yield from _paths(choice, f"{path}.")


def _require_field(base: Json, path: str, known: Sequence[str]) -> None:
    node: Any = base
    steps = path.split(".")
    for place, step in enumerate(steps):
        if isinstance(node, dict) and step in node:
            node = node[step]
            continue
        above = ".".join(steps[:place])
        if place and node is None:
            allowed = f"a field that is there: {above} is null in the experiment"
        else:
            beside = [f"{above}.{name}" if above else name for name in node] if isinstance(node, dict) else [above]
            likely = get_close_matches(path, known, n=3, cutoff=0.6) or beside
            allowed = f"one of {', '.join(likely)}"
        raise InvalidRequest(f"space.{path}", path, allowed)


def _paths(body: Json, prefix: str = "") -> Iterator[str]:
    for name, value in body.items():
        yield f"{prefix}{name}"
        if isinstance(value, dict):
            yield from _paths(value, f"{prefix}{name}.")
