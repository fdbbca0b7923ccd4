"""Live while the process runs; ready while Postgres and Redis answer."""

from __future__ import annotations

import dataclasses
from contextlib import closing

import pytest

from services.broker import Broker
from services.db.engine import Database


def test_live_and_ready(shared):
    assert shared.get("/health/live").json() == {"status": "ok"}
    assert shared.get("/health/ready").json() == {"status": "ok"}


@pytest.mark.parametrize("server", ["Postgres", "Redis"])
def test_ready_names_the_server_that_is_away(client, server, monkeypatch, port):
    name, store = {
        "Postgres": ("database", Database(f"postgresql+psycopg://someone:secret@127.0.0.1:{port}/none")),
        "Redis": ("broker", Broker(f"redis://:secret@127.0.0.1:{port}/0")),
    }[server]
    with closing(store), monkeypatch.context() as patch:
        patch.setattr(client.app.state, "backend", dataclasses.replace(client.app.state.backend, **{name: store}))
        answer = client.get("/health/ready")
    assert answer.status_code == 503
    assert f"{server} at " in answer.json()["detail"]
    assert f"127.0.0.1:{port}" in answer.json()["detail"]
    assert "secret" not in answer.text
    assert client.get("/health/live").status_code == 200
