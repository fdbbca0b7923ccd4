"""A state is saved beside the supervision: one save at a time, and none after it was given up."""

from __future__ import annotations

import threading

import pytest

from services.errors import Unavailable
from tests.worker.conftest import PATIENCE_SECONDS, Until
from worker.host.saver import Saver


def test_what_is_asked_for_while_a_save_runs_becomes_one_more(until: Until) -> None:
    begun, go, saves = threading.Event(), threading.Event(), []

    def save(stop: threading.Event) -> None:
        begun.set()
        assert go.wait(PATIENCE_SECONDS)
        saves.append(stop.is_set())

    saver = Saver(save)
    assert saver.idle
    saver.request()
    saver.poll()
    assert begun.wait(PATIENCE_SECONDS)
    for _ in range(3):
        saver.request()
        saver.poll()
    assert not saver.idle
    go.set()
    until(lambda: (saver.poll(), saver.idle)[1])
    assert saves == [False, False]


def test_a_save_that_the_store_did_not_take_is_told_and_wanted_again(until: Until) -> None:
    faults = [Unavailable("bucket")]

    def save(_stop: threading.Event) -> None:
        if faults:
            raise faults.pop()

    saver = Saver(save)
    saver.request()
    with pytest.raises(Unavailable, match="bucket"):
        until(saver.poll)
    assert (saver.failing, saver.idle) == (True, False)
    until(lambda: (saver.poll(), saver.idle)[1])
    saver.poll()
    assert not saver.failing


def test_who_gives_up_stops_the_save_that_runs_and_begins_no_other(until: Until) -> None:
    begun, saves = threading.Event(), []

    def save(stop: threading.Event) -> None:
        begun.set()
        saves.append(stop.wait(PATIENCE_SECONDS))

    saver = Saver(save)
    saver.request()
    saver.poll()
    assert begun.wait(PATIENCE_SECONDS)
    saver.request()
    saver.give_up()
    saver.request()
    until(lambda: (saver.poll(), saver.idle)[1])
    assert saves == [True]
