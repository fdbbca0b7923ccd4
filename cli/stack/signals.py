"""SIGINT and SIGTERM as a wish that the stack grants between two steps, never in the middle of one."""

from __future__ import annotations

import signal
import time
from types import FrameType


class StopRequested(KeyboardInterrupt):
    """A request to stop the stack."""


class Signals:
    """Counts the requests to stop: the first asks for an orderly end, a second one for a quick end."""

    def __init__(self) -> None:
        self._count = 0

    def install(self) -> None:
        """Take SIGINT, SIGTERM and SIGHUP (the terminal went away)."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._note)

    def pause(self, seconds: float) -> None:
        """Sleep; raise ``StopRequested`` if a stop was requested before or meanwhile."""
        time.sleep(seconds)
        if self._count > 0:
            raise StopRequested

    def hurry(self) -> bool:
        """Say whether a second request came."""
        return self._count > 1

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self._count += 1
