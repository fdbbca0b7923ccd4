"""Clients of an application that runs in the test's own process."""

from __future__ import annotations

from functools import cache
from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient

from api.app import create_app
from services.settings import Settings

ADDRESS = "http://127.0.0.1:8080"
"""A name by which an API on loopback lets itself be asked; TestClient's own is a foreign one."""


def client_of(settings: Settings, **options: Any) -> TestClient:
    """Return a client of a new application, whose errors are answers."""
    app, first = create_app(settings), _first()
    app.router.routes[:] = first.router.routes
    app.dependency_overrides = first.dependency_overrides  # where the routes look for them
    app.dependency_overrides.clear()
    return TestClient(app, base_url=ADDRESS, raise_server_exceptions=False, **options)


@cache
def _first() -> FastAPI:
    """Return the application whose routes all others of this process have.

    At its first request an application works out what each of its routes takes, for longer than a test asks it; it
    keeps that with the route, and all else with itself.
    """
    return create_app(Settings())
