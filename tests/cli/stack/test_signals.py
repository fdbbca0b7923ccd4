"""A wish to stop is granted between two steps."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from cli.stack.signals import Signals, StopRequested

TAKEN = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture
def signals() -> Iterator[Signals]:
    before = [signal.getsignal(number) for number in TAKEN]
    found = Signals()
    found.install()
    yield found
    for number, handler in zip(TAKEN, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize("number", TAKEN)
def test_a_signal_ends_the_next_pause_and_a_second_one_hurries(signals: Signals, number: signal.Signals) -> None:
    signals.pause(0)
    signal.raise_signal(number)  # in the middle of a step, which goes on
    assert not signals.hurry()
    with pytest.raises(StopRequested):
        signals.pause(0)
    signal.raise_signal(number)
    assert signals.hurry()
