"""The pages of what an experiment may be made of: recipes with their numbers, networks, backbones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from fastapi import Request
from fastapi.responses import HTMLResponse

from api.catalogue import all_models, recipe_named
from api.deps import Id
from api.web.negotiation import Pages
from api.web.templates import page
from services.recipes import RECIPES

router = Pages()


@router.get("/recipes", response_class=HTMLResponse)
def recipes(request: Request) -> HTMLResponse:
    """Render the list of recipes."""
    return page(request, "recipes.html", {"recipes": [recipe_named(name) for name in RECIPES]})


@router.get("/recipes/{name}", response_class=HTMLResponse)
def recipe(request: Request, name: Id) -> HTMLResponse:
    """Render a recipe with all its numbers."""
    found = recipe_named(name)
    fields = list(_fields("", found.spec.model_dump(mode="json")))
    command = yaml.safe_dump({"recipe": found.name, "name": f"my {found.title}", "seeds": [0]}, sort_keys=False)
    return page(request, "recipe.html", {"recipe": found, "fields": fields, "body": command})


@router.get("/models", response_class=HTMLResponse)
def models(request: Request) -> HTMLResponse:
    """Render the networks and backbones with their options."""
    found = all_models()
    defaults = {model.kind: list(_fields("", model.defaults)) for model in found.items}
    users = {
        model.kind: [name for name, each in RECIPES.items() if each.spec.model.kind == model.kind]
        for model in found.items
    }
    return page(
        request,
        "models.html",
        {"models": found.items, "backbones": found.backbones, "defaults": defaults, "users": users},
    )


def _fields(prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the fields of a spec with their values on one line; those of parts by dotted names."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _fields(f"{prefix}{name}.", value)
        elif isinstance(value, list):
            yield f"{prefix}{name}", ", ".join(map(str, value)) or "none"
        else:
            yield f"{prefix}{name}", "none" if value is None else str(value)
