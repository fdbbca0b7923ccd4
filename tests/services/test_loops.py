"""No exception ends a background loop, and each cause is told once, with its traceback."""

from __future__ import annotations

import threading

import pytest

from services.errors import Unavailable
from services.loops import Loop

PATIENCE_SECONDS = 60


def test_a_loop_survives_whatever_its_work_raises_and_tells_each_cause_once(caplog: pytest.LogCaptureFixture) -> None:
    rounds, done = iter(range(1000)), threading.Event()

    def work() -> None:
        number = next(rounds)
        if number == 12:
            done.set()
        if number < 5:
            raise ZeroDivisionError("a bug")
        if number < 10:
            raise Unavailable("Postgres at db:5432")

    loop = Loop("chore", work, 0.001)
    loop.start()
    assert done.wait(PATIENCE_SECONDS)
    loop.stop()
    assert caplog.text.count("Traceback") == 1
    assert caplog.text.count("ZeroDivisionError: a bug") == 1
    assert loop.silent_seconds < PATIENCE_SECONDS


def test_a_loop_says_for_how_long_it_has_not_succeeded() -> None:
    called = threading.Event()

    def work() -> None:
        called.set()
        raise OSError("away")

    loop = Loop("chore", work, 0.001)
    loop.start()
    assert called.wait(PATIENCE_SECONDS)
    before = loop.silent_seconds
    called.clear()
    assert called.wait(PATIENCE_SECONDS)
    assert loop.silent_seconds > before
    loop.stop()


def test_the_work_may_name_the_next_pause_and_a_nudge_ends_it() -> None:
    calls = threading.Semaphore(0)

    def work() -> float:
        calls.release()
        return 3600

    loop = Loop("chore", work, 3600)
    loop.start()
    for _ in range(2):
        assert calls.acquire(timeout=PATIENCE_SECONDS)
        loop.nudge()
    loop.stop()
