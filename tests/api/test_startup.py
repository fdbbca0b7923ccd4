"""A start that fails says why in one line and leaves with an error code; secrets stay out of it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from api.startup import PlainStartup
from services.errors import Unavailable
from services.settings import Settings


@pytest.mark.parametrize("server", ["Postgres", "Redis"])
def test_a_server_that_is_away_stops_the_start(database_url, redis_url, server, port):
    address = {
        "Postgres": {"database_url": f"postgresql+psycopg://someone:secret@127.0.0.1:{port}/none"},
        "Redis": {"redis_url": f"redis://:secret@127.0.0.1:{port}/0"},
    }[server]
    settings = Settings(**({"database_url": database_url, "redis_url": redis_url} | address))
    with (
        pytest.raises(Unavailable, match=f"{server} at .*127.0.0.1:{port}") as caught,
        TestClient(create_app(settings)),
    ):
        pass
    assert "secret" not in str(caught.value)


def test_addresses_that_are_not_set():
    with pytest.raises(Unavailable, match="TWOSTREAM_DATABASE_URL"), TestClient(create_app(Settings())):
        pass


def test_uvicorn_says_it_in_one_line(port):
    environment = os.environ | {
        "TWOSTREAM_DATABASE_URL": f"postgresql+psycopg://someone:secret@127.0.0.1:{port}/none",
        "TWOSTREAM_REDIS_URL": f"redis://127.0.0.1:{port}/0",
    }
    command = [sys.executable, "-m", "uvicorn", "api.app:create_app", "--factory", "--port", "0"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode != 0
    assert f"127.0.0.1:{port}" in done.stderr
    assert "cannot start: " in done.stderr
    assert "Traceback" not in done.stderr
    assert "secret" not in done.stderr


def test_other_failures_of_the_start_keep_their_traceback():
    def start(sent):
        async def broken(scope, receive, send):
            await send({"type": "lifespan.startup.failed", "message": "Traceback: a bug"})
            raise RuntimeError("a bug")

        async def send(message):
            sent.append(message)

        async def receive():
            return {"type": "lifespan.startup"}

        return PlainStartup(broken)({"type": "lifespan"}, receive, send)

    sent: list[object] = []
    with pytest.raises(RuntimeError, match="a bug"):
        asyncio.run(start(sent))
    assert sent == [{"type": "lifespan.startup.failed", "message": "Traceback: a bug"}]
