"""The recipes by name, and how a submitted body that names one becomes a spec."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.errors import InvalidRequest
from services.recipes import demo, ts_lstm
from services.specs import ExperimentSpec


@dataclass(frozen=True)
class Recipe:
    """A named spec; ``source`` says where its numbers come from."""

    name: str
    title: str
    source: str
    spec: ExperimentSpec


def _recipes() -> tuple[Recipe, ...]:
    paper = "TS-LSTM and Temporal-Inception (arXiv 1703.10667)"
    return (
        Recipe("ts_lstm_ucf101", "TS-LSTM on UCF101", f"{paper}, sec. 4", ts_lstm.ucf101()),
        Recipe("ts_lstm_hmdb51", "TS-LSTM on HMDB51", f"{paper}, sec. 4", ts_lstm.hmdb51()),
        Recipe("two_stream_ucf101", "Two-stream frame average on UCF101", f"{paper}, Table 2", ts_lstm.two_stream()),
        Recipe("demo_ts_lstm", "TS-LSTM on generated clips", "ours, for a first look", demo.ts_lstm()),
        Recipe("demo_mean_pooling", "Mean pooling on generated clips", "ours, for a first look", demo.mean_pooling()),
    )


RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in _recipes()}


def resolve(body: Mapping[str, Any]) -> tuple[ExperimentSpec, str | None]:
    """Return the spec of a submitted body, and the recipe that it names.

    A body with ``recipe`` is that recipe's spec with the body's other fields laid over it: objects are merged, other
    values replace. Another ``kind`` of model replaces the recipe's model as a whole.

    Raises:
        InvalidRequest: no recipe has that name.
        pydantic.ValidationError: the result is not a spec.
    """
    if "recipe" not in body:
        return ExperimentSpec.model_validate(body), None
    name = body["recipe"]
    if not isinstance(name, str) or name not in RECIPES:
        raise InvalidRequest("recipe", name, ", ".join(RECIPES))
    changes = {field: value for field, value in body.items() if field != "recipe"}
    base = RECIPES[name].spec.model_dump(mode="json")
    return ExperimentSpec.model_validate(_merge(base, changes)), name


def _merge(base: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for field, value in changes.items():
        old = merged.get(field)
        replaced = isinstance(old, dict) and isinstance(value, Mapping)
        same_kind = not isinstance(value, Mapping) or value.get("kind", _kind(old)) == _kind(old)
        merged[field] = _merge(old, value) if replaced and same_kind and isinstance(old, dict) else value
    return merged


def _kind(value: object) -> object:
    return value.get("kind") if isinstance(value, dict) else None
