"""Every route of the application, those outside the OpenAPI document too."""

from __future__ import annotations

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
