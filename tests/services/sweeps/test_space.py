"""What a sweep may try: the points of its space, and what is refused before anything runs."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from pydantic import ValidationError

from services.errors import InvalidRequest
from services.recipes import RECIPES
from services.specs import ExperimentSpec, ModelSpec
from services.specs.spaces import SPACES, default_space
from services.specs.sweep import SweepSpec
from services.sweeps.space import RefusedPoint, corners, count_of, ends_of, grid_of, opened, trials_of
from services.sweeps.study import distribution_of
from tests.services.sweeps.conftest import RATE, SMALL, sweep_of

TUNED = {**SMALL, "backbone": {"name": "tiny", "finetune": {"epochs": 2, "patience": 2, "selection": "test"}}}


def test_trials_hold_groups_out_of_every_training_and_the_best_one_none() -> None:
    experiment = {**TUNED, "training": {"validation_share": 0.3}, "seeds": [3, 4]}
    sweep = sweep_of(experiment=experiment, splits=[2])
    space = opened(sweep)
    trial = space.trial(sweep, 7, {RATE: 0.5, "model.segments": 5})
    assert trial.backbone.finetune is not None
    for training in (trial.training, trial.backbone.finetune):
        assert (training.selection, training.validation_share) == ("validation", 0.3)
    assert (trial.name, trial.splits, trial.seeds) == ("small, trial 7", (2,), (3,))
    assert (trial.training.optimizer.learning_rate, trial.model.segments) == (0.5, 5)  # type: ignore[union-attr]
    best = space.best(sweep, {RATE: 0.5})
    assert best.backbone.finetune is not None
    assert {best.training.selection, best.backbone.finetune.selection} == {"last"}
    assert (best.name, best.splits, best.seeds) == ("small, best", (1, 2), (3, 4))


def test_a_choice_is_laid_over_the_experiment_as_over_a_recipe() -> None:
    axes = {"model": {"choices": [{"kind": "lstm"}, {"kind": "ts_lstm", "segments": 5}]}}
    space = opened(sweep_of(space=axes))
    assert space.point({"model": {"kind": "lstm"}}).model.kind == "lstm"
    epochs = opened(
        sweep_of(experiment={**SMALL, "training": {"iterations": 9}}, space={"training.epochs": {"choices": [3]}})
    )
    assert epochs.point({"training.epochs": 3}).training.iterations is None


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"space": {"training.optimiser.learning_rate": {"choices": [1]}}}, "space.training.optimiser.learning_rate", RATE),
    ({"space": {"model.segmnts": {"choices": [1]}}}, "space.model.segmnts", "model.segments"),
    ({"space": {"model.segments.more": {"choices": [1]}}}, "space.model.segments.more", "model.segments"),
    ({"space": {"backbone.finetune.epochs": {"choices": [1]}}}, "space.backbone.finetune.epochs", "finetune is null"),
    ({"space": {"seeds": {"choices": [[1]]}}}, "space.seeds", "compared with each other"),
    ({"space": {"resources.gpus": {"choices": [1]}}}, "space.resources.gpus", "it changes no number"),
    ({"space": {"training.selection": {"choices": ["last"]}}}, "space.training.selection", "objective decides"),
    ({"space": {"model": {"choices": [{"kind": "lstm"}]}, "model.hidden": {"choices": [[9]]}}}, "space.model.hidden",
     "no field of model"),
    ({"space": {"training": {"choices": [{"patience": 3}]}}}, "space.training", "objective decides"),
    ({"space": {"evaluation": {"choices": [{"average": "logits"}]}}}, "space.evaluation", "does not depend on it"),
    ({"space": {"training": {"choices": [1]}, "evaluation": {"choices": [{"localization": {"share": 1}}]}}},
     "space.evaluation", "does not depend on it"),
    ({"space": {f"{name}": {"choices": [*range(100)]} for name in ("model.dropout", "training.epochs", RATE)},
      "sampler": {"kind": "grid"}}, "space", "up to 100000 points with sampler grid"),
    ({"splits": [3]}, "splits", "some of the experiment's, 1, 2"),
    ({"experiment": {"recipe": "nope"}}, "experiment.recipe", "demo_ts_lstm"),
    ({"experiment": {"members": []}}, "experiment.members", "an experiment that trains"),
    ({"space": None, "sampler": {"kind": "grid"}}, f"space.{RATE}", "choices, whole numbers, or a step"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "field", "allowed"), REFUSED, ids=[field for _, field, _ in REFUSED])
def test_what_is_no_space_is_refused(changes: dict[str, Any], field: str, allowed: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        opened(sweep_of(**changes))
    assert refusal.value.field == field
    assert allowed in refusal.value.allowed


AXES: list[tuple[dict[str, Any], str]] = [
    ({}, "choices, or low and high"),
    ({"choices": [1], "low": 1}, "and not both"),
    ({"choices": [1, 1]}, "each value once"),
    ({"low": 2, "high": 2}, "above low = 2"),
    ({"low": 0, "high": 1, "log": True}, "above 0 with log"),
    ({"low": 1, "high": 9, "log": True, "step": 2}, "null with log"),
    ({"low": 1, "high": 2, "step": 3}, "at the most high - low = 1"),
    ({"choices": []}, "at least 1 item"),
    ({"low": -1e308, "high": 1.0, "step": 1}, "greater than or equal to -1000000000000000"),
    ({"low": 1, "high": 10**400}, "less than or equal to 1000000000000000"),
    ({"low": 1e-4, "high": 1.0, "step": 1e-300}, "one that makes up to 1000000 values"),
]


@pytest.mark.parametrize(("axis", "allowed"), AXES, ids=[allowed for _, allowed in AXES])
def test_what_is_no_axis_is_refused(axis: dict[str, Any], allowed: str) -> None:
    with pytest.raises(ValidationError, match=allowed):
        sweep_of(space={RATE: axis})


@pytest.mark.parametrize(
    ("changes", "allowed"),
    [
        ({"budget": {}}, "trials, gpu_hours, or both"),
        ({"seeds": [1, 1]}, "each value once"),
        ({"space": {RATE: {"low": 0.1, "high": 1.0}}, "sampler": {"kind": "grid"}}, "or a step, with sampler grid"),
        ({"space": {}}, "at least 1 item"),
    ],
)
def test_what_is_no_sweep_is_refused(changes: dict[str, Any], allowed: str) -> None:
    with pytest.raises(ValidationError, match=allowed):
        sweep_of(**changes)


def test_corners_that_the_spec_refuses_are_told_before_anything_runs() -> None:
    with pytest.raises(RefusedPoint) as refusal:
        opened(sweep_of(space={"model.segments": {"low": 1, "high": 9}, "evaluation.frames": {"choices": [25, 7]}}))
    assert refusal.value.values == {"model.segments": 9, "evaluation.frames": 7}
    with pytest.raises(RefusedPoint):
        opened(sweep_of(space={RATE: {"low": 1e-3, "high": 100.0}}))


def test_a_large_space_is_tried_at_each_end_of_each_axis_and_at_some_of_its_corners() -> None:
    axes = sweep_of(space={f"model.{number}": {"choices": [*range(8)]} for number in range(5)}).space or {}
    found = list(corners(axes))
    assert [point for point in found if len(point) == 1] == [{name: value} for name in axes for value in range(8)]
    assert len(found) == 40 + 256
    assert found == list(corners(axes))


def test_a_grid_ends_with_its_last_point() -> None:
    axes = (
        sweep_of(space={"model.dropout": {"low": 0.0, "high": 0.8, "step": 0.3}, "a": {"low": 1, "high": 4}}).space
        or {}
    )
    assert [grid_of(axis) for axis in axes.values()] == [(0.0, 0.3, 0.6), (1, 2, 3, 4)]
    grid = sweep_of(sampler={"kind": "grid"}, space={"model.segments": {"low": 1, "high": 3}}, budget={"trials": 9})
    assert trials_of(grid, opened(grid)) == 3
    assert trials_of(sweep_of(budget={"gpu_hours": 1}), opened(sweep_of())) == 1000


def test_a_range_of_many_steps_is_whole_for_its_corners_and_for_optuna() -> None:
    axes = sweep_of(space={RATE: {"low": 0.0, "high": 0.5, "step": 0.0001}, "a": {"low": 1, "high": 9000, "step": 3}})
    rate, whole = (axes.space or {}).values()
    assert (count_of(rate), ends_of(rate)) == (5001, (0.0, 0.5))
    assert (count_of(whole), ends_of(whole)) == (3000, (1, 8998))
    assert [point["a"] for point in corners({"a": whole})] == [1, 8998]
    assert distribution_of(rate).high == 0.5  # type: ignore[attr-defined]
    with pytest.raises(RefusedPoint, match=r"training\.epochs = 1000000000"):
        opened(sweep_of(space={"training.epochs": {"low": 1, "high": 10**9}}))


def test_every_network_has_a_default_space_that_its_recipes_take() -> None:
    [union, *_] = get_args(ModelSpec)
    assert set(SPACES) == {kind.model_fields["kind"].default for kind in get_args(union)}
    for name in RECIPES:
        sweep = SweepSpec.model_validate({"experiment": {"recipe": name}})
        space = opened(sweep)
        assert len(space.axes) >= 2, name
        rate = next(iter(space.axes))
        assert rate.endswith("optimizer.learning_rate")
    assert default_space(ExperimentSpec.model_validate({**SMALL, "evaluation": {"frames": 4}}))[
        "model.segments"
    ].choices == (1, 3)
