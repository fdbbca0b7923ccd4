"""What an experiment may be made of: recipes, models, backbones, with defaults and JSON schemas."""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any, get_args

from fastapi import APIRouter
from pydantic import BaseModel, Field

from api.deps import Id
from api.field_errors import schema_of
from services.errors import NotFound, nearest
from services.recipes import RECIPES
from services.specs import FEATURES, BackboneSpec, ExperimentSpec, ModelSpec, Network

router = APIRouter(tags=["catalogue"])

Json = dict[str, Any]


class Recipe(BaseModel):
    """A paper's system; submit it with `recipe: NAME` and the fields that are to differ."""

    name: str
    title: str
    source: str
    deviations: dict[str, str]
    """Where it differs from its paper, in words, by name."""
    spec: ExperimentSpec


class Recipes(BaseModel):
    """All recipes, and the schema of the spec that each fills in."""

    items: list[Recipe]
    spec_schema: Json = Field(serialization_alias="schema")


class Model(BaseModel):
    """A temporal network: its options with their defaults, and their JSON schema."""

    kind: str
    description: str
    features: dict[str, str]
    """What it takes of each stream: a `vector` or a `map` for each step."""
    end_to_end: bool
    """Whether `backbone.end_to_end` may train the backbone along."""
    defaults: Json
    options_schema: Json = Field(serialization_alias="schema")


class Backbones(BaseModel):
    """ConvNets by name, and the options of any of them; `timm:NAME` stands for any model of timm."""

    names: list[str]
    features: dict[str, dict[str, list[int]]]
    """Of each: its features' shapes by name, vectors `[D]` and maps `[C, H, W]`."""
    defaults: Json
    options_schema: Json = Field(serialization_alias="schema")


class Models(BaseModel):
    """All that `model` and `backbone` of an experiment may be."""

    items: list[Model]
    backbones: Backbones


@router.get("/recipes")
async def recipes() -> Recipes:
    """List the recipes with all their defaults."""
    return Recipes(items=[recipe_named(name) for name in RECIPES], spec_schema=schema_of(ExperimentSpec))


@router.get("/recipes/{name}")
async def recipe(name: Id) -> Recipe:
    """Return one recipe."""
    return recipe_named(name)


@router.get("/models")
async def models() -> Models:
    """List the models and backbones with their defaults."""
    return all_models()


def recipe_named(name: str) -> Recipe:
    """Return a recipe, or raise ``NotFound``."""
    if name not in RECIPES:
        raise NotFound("recipe", name, nearest(name, RECIPES))
    found = RECIPES[name]
    return Recipe(
        name=found.name, title=found.title, source=found.source, deviations=dict(found.deviations), spec=found.spec
    )


@cache
def all_models() -> Models:
    """Return the networks and backbones with their defaults."""
    kinds: tuple[type[Network], ...] = get_args(get_args(ModelSpec)[0])
    return Models(
        items=[_model(kind) for kind in kinds],
        backbones=Backbones(
            names=list(FEATURES),
            features={
                name: {feature: list(shape) for feature, shape in found.items()} for name, found in FEATURES.items()
            },
            defaults=BackboneSpec().model_dump(mode="json"),
            options_schema=schema_of(BackboneSpec),
        ),
    )


def _model(kind: type[Network]) -> Model:
    defaults = kind().model_dump(mode="json")
    return Model(
        kind=defaults["kind"],
        description=inspect.cleandoc(kind.__doc__ or ""),
        features=dict(kind.features),
        end_to_end=kind.trains_backbone,
        defaults=defaults,
        options_schema=schema_of(kind),
    )
