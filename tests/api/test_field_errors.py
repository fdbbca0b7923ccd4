"""Pydantic's errors in the words of the schema."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, model_validator

from api.field_errors import MAX_ERRORS, InvalidFields, checked


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


@pytest.mark.parametrize(
    ("body", "field", "value", "allowed"),
    [
        ({"other": 1}, "other", 1, "one of side, inner, rate, step, names, flag, code"),
        ({"side": {"kind": "up"}}, "side.kind", "up", "one of left, right"),
        ({"side": {}}, "side.kind", None, "one of left, right"),
        ({"side": 3}, "side", 3, "an object whose kind is one of left, right"),
        ({"side": {"kind": "left", "left": 2}}, "side.left", 2, "one of kind, depth"),
        ({"side": {"kind": "left", "depth": 10}}, "side.depth", 10, "an integer from 1 to 9"),
        ({"inner": {"depth": 0}}, "inner.depth", 0, "an integer from 1 to 9"),
        ({"inner": {"kind": "right"}}, "inner.kind", "right", "one of left"),
        ({"inner": 5}, "inner", 5, "an object"),
        ({"body": 5}, "body", 5, "one of side, inner, rate, step, names, flag, code"),
        ({"rate": 0}, "rate", 0, "a number greater than 0"),
        ({"rate": "fast"}, "rate", "fast", "a number greater than 0"),
        ({"step": 33}, "step", 33, "an integer at least 32 and a multiple of 16"),
        ({"names": []}, "names", [], "a list of 1 to 2 values, each a string of 0 to 3 characters"),
        ({"names": ["abcd"]}, "names.0", "abcd", "a string of 0 to 3 characters"),
        ({"flag": 7}, "flag", 7, "true or false"),
        ({"code": "A"}, "code", "A", "a string that matches ^[a-z]+$"),
        ({"code": "A" * 1000}, "code", "A" * 200 + "...", "a string that matches ^[a-z]+$"),
        ({"flag": [1] * 1000}, "flag", str([1] * 1000)[:200] + "...", "true or false"),
    ],
)
def test_says_field_value_and_what_is_allowed(body, field, value, allowed):
    with pytest.raises(InvalidFields) as caught:
        checked(Whole, body)
    [error] = caught.value.errors
    assert (error.field, error.value, error.allowed) == (field, value, allowed)


def test_a_good_body_passes():
    assert checked(Whole, {"rate": 2}).rate == 2


def test_endless_errors_are_cut():
    with pytest.raises(InvalidFields) as caught:
        checked(Whole, {f"field{number}": number for number in range(1000)})
    errors = caught.value.errors
    assert len(errors) == MAX_ERRORS
    assert (errors[-1].field, errors[-1].value) == ("body", f"{1000 - len(errors) + 1} more errors")


@pytest.mark.parametrize("value", ["x", ["rgb", "rgb"], "[", "O'Neill"])
def test_a_message_quotes_a_value_as_python_does(value):
    class Worded(BaseModel):
        name: str | list[str]

        @model_validator(mode="after")
        def _refuse(self) -> Worded:
            raise ValueError(f"name: got {self.name!r}, allowed: none")

    with pytest.raises(InvalidFields) as caught:
        checked(Worded, {"name": value})
    [error] = caught.value.errors
    assert (error.field, error.value, error.allowed) == ("name", value, "none")
