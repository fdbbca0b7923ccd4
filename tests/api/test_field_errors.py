"""Pydantic's errors in the words of the schema."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, get_args

import pytest
from pydantic import BaseModel, ConfigDict, Field, model_validator

from api.experiments import SUBMISSION_FIELDS
from api.field_errors import MAX_ERRORS, InvalidFields, checked, checked_as
from services import recipes
from services.errors import refused
from services.specs import BackboneSpec, ExperimentSpec, FlowStreamSpec, ModelSpec, TrainingSpec

KINDS = get_args(get_args(ModelSpec)[0])


class Left(BaseModel):
    model_config = ConfigDict(extra="forbid")
    kind: Literal["left"] = "left"
    depth: Annotated[int, Field(ge=1, le=9)] = 1


class Right(BaseModel):
    kind: Literal["right"] = "right"


class Whole(BaseModel):
    model_config = ConfigDict(extra="forbid")
    side: Annotated[Left | Right, Field(discriminator="kind")] = Left()
    inner: Left | None = None
    rate: Annotated[float, Field(gt=0)] = 1.0
    step: Annotated[int, Field(multiple_of=16, ge=32)] = 32
    names: Annotated[list[Annotated[str, Field(max_length=3)]], Field(min_length=1, max_length=2)] = ["a"]
    flag: bool = True
    code: Annotated[str, Field(pattern="^[a-z]+$")] = "a"
    size: Annotated[int, Field(ge=1, le=9)] | Literal["auto"] | None = None
    norm: bool | Literal["before", "after"] = True
    widths: tuple[Annotated[int, Field(ge=1)], ...] | Literal["mean", "max"] = "mean"
    one: Left | str = "a"
    shares: Annotated[dict[str, Left], Field(min_length=1, max_length=2)] = {"a": Left()}
    weights: dict[str, Annotated[int | float, Field(ge=0)]] = {}


@pytest.mark.parametrize(
    ("body", "field", "value", "allowed"),
    [
        (
            {"other": 1},
            "other",
            1,
            "one of side, inner, rate, step, names, flag, code, size, norm, widths, one, shares, weights",
        ),
        ({"side": {"kind": "up"}}, "side.kind", "up", "one of left, right"),
        ({"side": {}}, "side.kind", None, "one of left, right"),
        ({"side": 3}, "side", 3, "an object whose kind is one of left, right"),
        ({"side": {"kind": "left", "left": 2}}, "side.left", 2, "one of kind, depth"),
        ({"side": {"kind": "left", "depth": 10}}, "side.depth", 10, "an integer from 1 to 9"),
        ({"inner": {"depth": 0}}, "inner.depth", 0, "an integer from 1 to 9"),
        ({"inner": {"kind": "right"}}, "inner.kind", "right", "one of left"),
        ({"inner": 5}, "inner", 5, "an object"),
        ({"shares": {}}, "shares", {}, "an object of 1 to 2 fields"),
        (
            {"shares": {"a": {}, "b": {}, "c": {}}},
            "shares",
            {"a": {}, "b": {}, "c": {}},
            "an object of 1 to 2 fields",
        ),
        ({"shares": {"x": {"depth": 10}}}, "shares.x.depth", 10, "an integer from 1 to 9"),
        ({"shares": {"x": {"left": 1}}}, "shares.x.left", 1, "one of kind, depth"),
        ({"shares": {"x": 1}}, "shares.x", 1, "an object"),
        ({"weights": {"x": "a"}}, "weights.x", "a", "an integer, or a number"),
        (
            {"body": 5},
            "body",
            5,
            "one of side, inner, rate, step, names, flag, code, size, norm, widths, one, shares, weights",
        ),
        ({"rate": 0}, "rate", 0, "a number greater than 0"),
        ({"rate": "fast"}, "rate", "fast", "a number greater than 0"),
        ({"step": 33}, "step", 33, "an integer at least 32 and a multiple of 16"),
        ({"names": []}, "names", [], "a list of 1 to 2 values, each a string of 0 to 3 characters"),
        ({"names": ["abcd"]}, "names.0", "abcd", "a string of 0 to 3 characters"),
        ({"flag": 7}, "flag", 7, "true or false"),
        ({"code": "A"}, "code", "A", "a string that matches ^[a-z]+$"),
        ({"code": "A" * 1000}, "code", "A" * 200 + "...", "a string that matches ^[a-z]+$"),
        ({"size": 0}, "size", 0, "an integer from 1 to 9, or auto"),
        ({"size": "Auto"}, "size", "Auto", "an integer from 1 to 9, or auto"),
        ({"norm": "x"}, "norm", "x", "true or false, or one of before, after"),
        (
            {"widths": "min"},
            "widths",
            "min",
            "a list of 0 or more values, each an integer at least 1, or one of mean, max",
        ),
        ({"widths": [1, 0]}, "widths.1", 0, "an integer at least 1"),
        ({"one": 3}, "one", 3, "an object of kind, depth, or a string"),
        ({"one": {"depth": 10}}, "one.depth", 10, "an integer from 1 to 9"),
        ({"flag": [1] * 1000}, "flag", str([1] * 1000)[:200] + "...", "true or false"),
    ],
)
def test_says_field_value_and_what_is_allowed(body, field, value, allowed):
    with pytest.raises(InvalidFields) as caught:
        checked(Whole, body)
    [error] = caught.value.errors
    assert (error.field, error.value, error.allowed) == (field, value, allowed)


@pytest.mark.parametrize(
    ("body", "field", "allowed"),
    [
        (
            {"backbone": {"weights": 3}},
            "backbone.weights",
            "a string of 1 to 1000 characters, or an object of experiment,",
        ),
        (
            {"model": {"kind": "ts_lstm", "weights": None}},
            "model.weights",
            "a string of 1 to 1000 characters, or an object",
        ),
        ({"training": {"micro_batch": "x"}}, "training.micro_batch", "an integer from 1 to 4096, or auto"),
        (
            {"model": {"kind": "max_pooling", "batch_norm": 1}},
            "model.batch_norm",
            "true or false, or one of before, after",
        ),
        (
            {"model": {"kind": "temporal_convnet", "kernels": [[3, "a"], 5]}},
            "model.kernels.0.1",
            "one of 1, 3, 5, 7, 9, 11",
        ),
    ],
)
def test_a_field_of_several_forms_is_told_once_with_all_of_them(body, field, allowed):
    with pytest.raises(InvalidFields) as caught, checked_as(SUBMISSION_FIELDS):
        recipes.resolve({"dataset": "motion_shapes", **body})
    [error] = caught.value.errors
    assert error.field == field
    assert error.allowed.startswith(allowed)


def test_a_good_body_passes():
    assert checked(Whole, {"rate": 2}).rate == 2


def test_endless_errors_are_cut():
    with pytest.raises(InvalidFields) as caught:
        checked(Whole, {f"field{number}": number for number in range(1000)})
    errors = caught.value.errors
    assert len(errors) == MAX_ERRORS
    assert (errors[-1].field, errors[-1].value) == ("body", f"{1000 - len(errors) + 1} more errors")


@pytest.mark.parametrize("value", ["x", ["rgb", "rgb"], "[", "O'Neill", "-1", "1e9", "x, allowed: y", {"a": 1}, None])
def test_a_validator_of_ours_tells_the_value_as_it_was_given(value):
    class Worded(BaseModel):
        name: Any

        @model_validator(mode="after")
        def _refuse(self) -> Worded:
            raise refused("name", self.name, "none")

    class Outer(BaseModel):
        inner: Worded

    for model, body, field in ((Worded, {"name": value}, "name"), (Outer, {"inner": {"name": value}}, "inner.name")):
        with pytest.raises(InvalidFields) as caught:
            checked(model, body)
        [error] = caught.value.errors
        assert (error.field, error.value, error.allowed) == (field, value, "none")


FULL = ExperimentSpec(dataset="d", flow_stream=FlowStreamSpec(backbone=BackboneSpec(), training=TrainingSpec()))


@pytest.mark.parametrize("wrong", ["text", -1, 10**10, 0.5, True, None, [], [[]], {}, {"kind": "x"}])
def test_every_field_of_an_experiment_is_answered_with_what_it_allows(wrong):
    refusals = 0
    for kind in KINDS:
        body = FULL.model_dump(mode="json") | {"model": kind().model_dump(mode="json")}
        for path in paths(body):
            if kind is not KINDS[0] and path[0] != "model":
                continue
            try:
                with checked_as(SUBMISSION_FIELDS):
                    recipes.resolve(replaced(body, path, wrong))
            except InvalidFields as caught:
                refusals += 1
                for error in caught.errors:
                    assert error.field.partition(".")[0] in ExperimentSpec.model_fields
                    assert error.allowed
                    assert "Value error" not in error.sentence
    assert refusals > 50


def paths(value: Any) -> Iterator[tuple[Any, ...]]:
    """Yield the way to each value in an object."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in inner:
        yield (key,)
        yield from ((key, *path) for path in paths(below))


def replaced(value: Any, path: Sequence[Any], other: object) -> Any:
    """Return a copy in which another value is at the end of a path."""
    if not path:
        return other
    copy = value.copy()
    copy[path[0]] = replaced(value[path[0]], path[1:], other)
    return copy
