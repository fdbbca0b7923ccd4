"""Clients of an application that runs in the test's own process."""

from __future__ import annotations

from typing import Any

from fastapi.testclient import TestClient

from api.app import create_app
from services.settings import Settings

ADDRESS = "http://127.0.0.1:8080"
"""A name by which an API on loopback lets itself be asked; TestClient's own is a foreign one."""


def client_of(settings: Settings, **options: Any) -> TestClient:
    """Return a client of a new application, whose errors are answers."""
    return TestClient(create_app(settings), base_url=ADDRESS, raise_server_exceptions=False, **options)
