"""What differs from a recipe, and a body that submits the same again."""

from __future__ import annotations

import pytest

from services.recipes import RECIPES, resolve
from services.recipes.difference import body, differences

CHANGES = (
    {},
    {"name": "mine", "seeds": [1, 2], "training": {"epochs": 3}},
    {"model": {"kind": "lstm"}, "fusion": {"method": "probabilities"}},
    {"training": {"optimizer": {"learning_rate": 0.5}}, "streams": ["rgb"]},
)


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_short_body_of_every_recipe_is_its_name(recipe):
    spec = RECIPES[recipe].spec.model_dump(mode="json")
    assert body(spec, recipe) == {"recipe": recipe}
    assert differences(spec, recipe) == []


@pytest.mark.parametrize("changes", CHANGES)
def test_a_body_submits_the_same_again(changes):
    spec, recipe = resolve({"recipe": "demo_ts_lstm", **changes})
    again = body(spec.model_dump(mode="json"), recipe)
    assert resolve(again) == (spec, recipe)
    assert again["recipe"] == "demo_ts_lstm"
    assert len(again) <= len(changes) + 2


def test_differences_are_named_by_field():
    spec, recipe = resolve(
        {
            "recipe": "demo_ts_lstm",
            "training": {"epochs": 3},
            "model": {"kind": "lstm"},
            "fusion": {"method": "probabilities"},
        }
    )
    found = {each.field: (each.recipe, each.here) for each in differences(spec.model_dump(mode="json"), recipe)}
    assert found["training.epochs"] == (40, 3)
    assert found["model"][1]["kind"] == "lstm"


def test_without_a_recipe_all_is_said():
    spec = RECIPES["demo_ts_lstm"].spec.model_dump(mode="json")
    assert body(spec, None) == {name: value for name, value in spec.items() if name != "refresh"}
    assert body(spec, "gone_ucf101") == body(spec, None)
