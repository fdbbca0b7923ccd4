"""Work that is done again and again in the background, and that no exception ends."""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Callable

from services.errors import Unavailable

log = logging.getLogger(__name__)


class Troubles:
    """What went wrong in a loop, said once: a cause with its traceback, a server that is away in one line.

    Args:
        name: of the loop, for the log.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._known: set[tuple[str, str]] = set()
        self._failures = 0

    def failed(self, error: Exception) -> None:
        """Log an error: in full the first time that its cause occurs, in one line when a run of failures begins."""
        self._failures += 1
        if isinstance(error, Unavailable):
            if self._failures == 1:
                log.warning("%s waits: %s", self._name, error)
            return
        last = traceback.extract_tb(error.__traceback__)[-1:]
        cause = (type(error).__name__, f"{last[0].filename}:{last[0].lineno}" if last else "")
        if cause not in self._known:
            self._known.add(cause)
            log.error("%s failed, and goes on", self._name, exc_info=error)
        elif self._failures == 1:
            log.error("%s failed again: %s: %s", self._name, cause[0], error)

    def succeeded(self) -> None:
        """Log the end of a run of failures."""
        if self._failures:
            log.info("%s is well again after %d failures", self._name, self._failures)
        self._failures = 0


class Loop:
    """A thread that works, pauses, and works again until it is stopped, whatever an exception may say.

    Args:
        name: of the thread, for the log.
        work: done in each round; the number that it returns, if any, is the next pause.
        every_seconds: pause between two rounds.
        first_seconds: pause before the first.
    """

    def __init__(
        self, name: str, work: Callable[[], float | None], every_seconds: float, first_seconds: float = 0.0
    ) -> None:
        self._work, self._every_seconds, self._first_seconds = work, every_seconds, first_seconds
        self._troubles = Troubles(name)
        self._stopping, self._nudged = threading.Event(), threading.Event()
        self._succeeded_at = time.monotonic()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def nudge(self) -> None:
        """Cut the present pause short, or leave out the next."""
        self._nudged.set()

    def stop(self, timeout: float | None = None) -> None:
        """End after the present round, and wait for it at the most ``timeout`` seconds."""
        self._stopping.set()
        self._nudged.set()
        if self._thread.is_alive():
            self._thread.join(timeout)

    @property
    def silent_seconds(self) -> float:
        """Time since the last round that succeeded, or since the loop was made."""
        return time.monotonic() - self._succeeded_at

    def _run(self) -> None:
        pause: float | None = self._first_seconds
        while True:
            self._nudged.wait(self._every_seconds if pause is None else pause)
            self._nudged.clear()
            if self._stopping.is_set():
                return
            pause = None
            try:
                pause = self._work()
            except Exception as error:  # the loop outlives whatever its work raises
                self._troubles.failed(error)
            else:
                self._succeeded_at = time.monotonic()
                self._troubles.succeeded()
