"""A heart that beats beside everything else."""

from __future__ import annotations

import threading
import time

import pytest

from services.errors import LeaseLost, Unavailable
from tests.worker.conftest import PATIENCE_SECONDS, Clock, Until
from worker.heartbeat import Heartbeat


class Lease:
    """Answers each renewal with the next of its answers, and with the last one ever after."""

    def __init__(self, *answers: bool | Exception) -> None:
        self.answers, self.asked = list(answers), 0

    def heartbeat(self) -> bool:
        answer = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_it_beats_until_the_block_ends(until: Until) -> None:
    lease = Lease(False)
    with Heartbeat(lease, every_seconds=0.01, lease_seconds=600) as heartbeat:
        until(lambda: lease.asked >= 3)
    assert "heartbeat" not in {thread.name for thread in threading.enumerate()}
    assert not heartbeat.lost.is_set()
    assert not heartbeat.cancel_requested.is_set()


def test_a_request_to_cancel_is_seen_and_the_lease_kept() -> None:
    with Heartbeat(Lease(True), every_seconds=0.01, lease_seconds=600) as heartbeat:
        assert heartbeat.cancel_requested.wait(PATIENCE_SECONDS)
        assert not heartbeat.lost.is_set()


def test_a_lease_that_another_attempt_has_is_lost() -> None:
    lease = Lease(False, LeaseLost("attempt 2 owns it"))
    with Heartbeat(lease, every_seconds=0.01, lease_seconds=600) as heartbeat:
        assert heartbeat.lost.wait(PATIENCE_SECONDS)
    assert lease.asked == 2


def test_a_database_that_comes_back_in_time_costs_nothing(until: Until) -> None:
    lease = Lease(Unavailable("db:5432"), Unavailable("db:5432"), False)
    with Heartbeat(lease, every_seconds=0.01, lease_seconds=600) as heartbeat:
        until(lambda: lease.asked >= 4)
        assert not heartbeat.lost.is_set()


def test_a_database_that_stays_away_loses_the_lease_when_its_time_is_over(
    until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, lease = Clock(), Lease(Unavailable("db:5432"))
    monkeypatch.setattr("worker.heartbeat.time", clock)
    with Heartbeat(lease, every_seconds=0.01, lease_seconds=600) as heartbeat:
        until(lambda: lease.asked >= 3)
        assert not heartbeat.lost.is_set()
        clock.ahead_seconds = 600
        assert heartbeat.lost.wait(PATIENCE_SECONDS)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_unforeseen_error_stops_the_stage_rather_than_the_heart_alone() -> None:
    with Heartbeat(Lease(ZeroDivisionError()), every_seconds=0.01, lease_seconds=600) as heartbeat:
        assert heartbeat.lost.wait(PATIENCE_SECONDS)


def test_the_end_of_the_block_is_not_a_loss() -> None:
    waiting = threading.Event()

    class Slow:
        def heartbeat(self) -> bool:
            waiting.set()
            time.sleep(0.1)  # the block ends meanwhile, and waits for this answer
            return False

    with Heartbeat(Slow(), every_seconds=0.01, lease_seconds=600) as heartbeat:
        assert waiting.wait(PATIENCE_SECONDS)
    assert not heartbeat.lost.is_set()
