"""Work in pieces: all of it is done, and the first failure is told when all have ended."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from worker.video.decoding.threads import side_by_side


def test_pieces_run_at_once_and_the_first_here() -> None:
    meeting, threads = threading.Barrier(3), set()

    def piece() -> None:
        meeting.wait(60)  # none gets by before all are there
        threads.add(threading.get_ident())

    side_by_side([piece] * 3)
    assert len(threads) == 3
    assert threading.get_ident() in threads


@pytest.mark.parametrize("broken", [0, 1, 2])
def test_a_failure_is_told_when_all_have_ended(broken: int) -> None:
    ended, goes_on = [], threading.Event()

    def piece(number: int) -> None:
        if number == broken:
            goes_on.set()
            raise ZeroDivisionError(number)
        goes_on.wait(60)
        ended.append(number)

    with pytest.raises(ZeroDivisionError, match=str(broken)):
        side_by_side([lambda number=number: piece(number) for number in range(3)])
    assert sorted(ended) == [number for number in range(3) if number != broken]


def test_one_piece_needs_no_thread() -> None:
    found = []
    side_by_side([lambda: found.append(threading.get_ident())])
    assert found == [threading.get_ident()]


FORK = """
import os
from worker.video.decoding.threads import side_by_side
side_by_side([int, int])
if os.fork() == 0:
    side_by_side([int, int])  # would wait for ever for threads that are not there
    os._exit(7)
os._exit(os.waitstatus_to_exitcode(os.wait()[1]))
"""


def test_a_forked_process_has_threads_of_its_own() -> None:
    assert subprocess.run([sys.executable, "-c", FORK], timeout=120, check=False).returncode == 7
