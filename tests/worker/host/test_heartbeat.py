"""A heart that beats beside everything else."""

from __future__ import annotations

import threading
import time

import pytest

from services.errors import LeaseLost, Unavailable
from services.queue.attempts import Renewal
from tests.worker.conftest import PATIENCE_SECONDS, Clock, Until
from worker.host.heartbeat import Heartbeat


class Lease:
    """Answers each renewal with the next of its answers, and with the last one ever after."""

    def __init__(self, *answers: bool | Exception) -> None:
        self.answers, self.asked = list(answers), 0

    def heartbeat(self) -> Renewal:
        answer = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        if isinstance(answer, Exception):
            raise answer
        return Renewal(answer, 3600)


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


def test_a_database_that_stays_away_loses_the_lease_when_its_time_is_over(until: Until) -> None:
    clock, lease = Clock(), Lease(Unavailable("db:5432"))
    with Heartbeat(lease, every_seconds=0.01, lease_seconds=600, clock=clock) as heartbeat:
        until(lambda: lease.asked >= 3)
        assert not heartbeat.lost.is_set()
        clock.ahead_seconds = 600
        assert heartbeat.lost.wait(PATIENCE_SECONDS)


def test_an_unforeseen_error_ends_no_heart_and_is_told_with_its_traceback(
    until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    lease = Lease(ZeroDivisionError("a bug"), False)
    with Heartbeat(lease, every_seconds=0.01, lease_seconds=600) as heartbeat:
        until(lambda: lease.asked >= 3)
        assert not heartbeat.lost.is_set()
    assert caplog.text.count("Traceback") == 1


def test_an_error_that_stays_loses_the_lease_when_its_time_is_over() -> None:
    with Heartbeat(Lease(ZeroDivisionError("a bug")), every_seconds=0.01, lease_seconds=0.3) as heartbeat:
        assert heartbeat.lost.wait(PATIENCE_SECONDS)


def test_a_lease_is_lost_in_time_while_a_renewal_hangs() -> None:
    answer = threading.Event()

    class Hanging:
        def heartbeat(self) -> Renewal:
            answer.wait(PATIENCE_SECONDS)
            return Renewal(False, 3600)

    with Heartbeat(Hanging(), every_seconds=0.01, lease_seconds=0.3) as heartbeat:
        assert heartbeat.lost.wait(PATIENCE_SECONDS / 2)
        assert not answer.is_set()
        answer.set()


def test_a_time_limit_that_rises_is_heard(until: Until) -> None:
    with Heartbeat(Lease(False), every_seconds=0.01, lease_seconds=600) as heartbeat:
        until(lambda: heartbeat.timeout_seconds == 3600)


def test_the_end_of_the_block_is_not_a_loss() -> None:
    waiting = threading.Event()

    class Slow:
        def heartbeat(self) -> Renewal:
            waiting.set()
            time.sleep(0.1)  # the block ends meanwhile, and waits for this answer
            return Renewal(False, 3600)

    with Heartbeat(Slow(), every_seconds=0.01, lease_seconds=600) as heartbeat:
        assert waiting.wait(PATIENCE_SECONDS)
    assert not heartbeat.lost.is_set()
