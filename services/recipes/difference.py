"""Where an experiment's spec differs from its recipe's, field by field, and the shortest body that says the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from services.errors import InvalidRequest
from services.recipes.catalogue import RECIPES, resolve

ABSENT = object()
NOT_OURS = ("refresh",)
"""Fields that say what a submission does, and nothing of the system."""


@dataclass(frozen=True)
class Difference:
    """A field that is another than the recipe's; None is what one of them lacks."""

    field: str
    recipe: Any
    here: Any


def differences(spec: Mapping[str, Any], recipe: str) -> list[Difference]:
    """Return the fields in which a spec, as JSON, differs from a recipe's."""
    return list(_differing("", _of(recipe), spec))


def body(spec: Mapping[str, Any], recipe: str | None) -> dict[str, Any]:
    """Return a body that submits a spec again: its recipe and what differs, or all of it where that would not do."""
    whole = {name: value for name, value in spec.items() if name not in NOT_OURS}
    if recipe not in RECIPES:
        return whole
    for found in ({"recipe": recipe, **_changes(_of(recipe), whole)}, {"recipe": recipe, **whole}):
        try:
            made, _ = resolve(found)
        except (InvalidRequest, ValueError):  # another version took it, or has made other recipes since
            continue
        if made.model_dump(mode="json") == {**spec, **dict.fromkeys(NOT_OURS, False)}:
            return found
    return whole


def _of(recipe: str) -> dict[str, Any]:
    return RECIPES[recipe].spec.model_dump(mode="json")


def _differing(prefix: str, base: Mapping[str, Any], spec: Mapping[str, Any]) -> Iterator[Difference]:
    for name in dict.fromkeys((*base, *spec)):
        old, new = base.get(name), spec.get(name)
        if old == new or name in NOT_OURS:
            continue
        if isinstance(old, Mapping) and isinstance(new, Mapping) and old.get("kind") == new.get("kind"):
            yield from _differing(f"{prefix}{name}.", old, new)
        else:
            yield Difference(f"{prefix}{name}", old, new)


def _changes(base: Mapping[str, Any], spec: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for name, new in spec.items():
        old = base.get(name, ABSENT)
        if old == new:
            continue
        mergeable = isinstance(old, Mapping) and isinstance(new, Mapping) and name != "weights"
        if mergeable and old.get("kind") == new.get("kind"):
            found[name] = _changes(old, new)
        else:
            found[name] = new
    return found
