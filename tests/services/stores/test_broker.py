"""The bell, when Redis is not there to hear it."""

from __future__ import annotations

import socket
import time

from services.stores.broker import Broker

SOON_SECONDS = 30.0
"""A quarter of what Celery's own settings would wait, and long on a machine that is busy."""


def test_who_rings_waits_little_for_a_redis_that_hangs() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, and never answers
        broker = Broker(f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        began_at = time.monotonic()
        assert broker.ring({"cpu": 3, "gpu": 3}) is False
        assert time.monotonic() - began_at < SOON_SECONDS
        broker.close()
