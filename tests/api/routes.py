"""Every route of the application, those outside the OpenAPI document too."""

from __future__ import annotations

import re

import pytest

from api.app import create_app
from api.web import assets, documents, pages
from services.settings import Settings


def routes_of() -> list[tuple[str, str]]:
    """Return method and path of every route."""
    settings = Settings(database_url="postgresql+psycopg://nobody@127.0.0.1/none", redis_url="redis://127.0.0.1")
    documented = create_app(settings).openapi()["paths"]
    found = [(method.upper(), path) for path, methods in documented.items() for method in methods]
    return sorted(
        found + [("GET", route.path) for module in (pages, documents, assets) for route in module.router.routes]
    )


ROUTES = routes_of()


every_route = pytest.mark.parametrize(("method", "path"), ROUTES)


def at(path: str) -> str:
    """Return a path with parameters that lead somewhere, as far as they can."""
    known = {
        "path:path": "style.css",
        "paper": "ts_lstm",
        "table": "3",
        "name": "motion_shapes" if "datasets" in path else "demo_ts_lstm",
    }
    return re.sub(r"{([\w:]+)}", lambda found: known.get(found[1], "exp_1"), path)
