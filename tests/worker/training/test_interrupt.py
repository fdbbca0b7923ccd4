"""The flag between a signal handler and the loop."""

from worker.training.interrupt import Interrupt, interrupt


def test_a_request_stays_until_it_is_taken_back() -> None:
    flag = Interrupt()
    assert not flag.requested
    flag.request()
    assert flag.requested
    flag.clear()
    assert not flag.requested


def test_the_process_has_one_which_nobody_raised() -> None:
    assert not interrupt.requested
