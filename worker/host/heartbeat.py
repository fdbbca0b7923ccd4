"""Keeps an attempt's lease from its claim to the publication of its output, whatever else the worker waits for."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from services.errors import LeaseLost
from services.loops import Troubles
from services.queue.attempts import Renewal

logger = logging.getLogger(__name__)

ENDING_SECONDS = 0.5
FIRST_RETRY_SECONDS = 0.5
WATCH_SECONDS = 0.5
"""Longest time between two looks at the clock, which may jump ahead while this process is held still."""
JOIN_SECONDS = 60.0
"""More than a call of the database takes in the worst case; a thread that still hangs is left behind."""


class Lease(Protocol):
    """An attempt's claim on its stage."""

    def heartbeat(self) -> Renewal:
        """Renew the lease and return what is asked of the stage.

        Raises:
            LeaseLost: another attempt owns the stage.
            Unavailable: the database does not answer.
        """
        raise NotImplementedError


class Heartbeat:
    """Renews a lease while its ``with`` block runs, and watches by the local clock that it was renewed in time.

    One thread asks the database, another watches: a call that hangs keeps no lease alive.

    Args:
        lease: called from the first thread alone.
        every_seconds: time between renewals; a database that is away is asked again sooner, then less and less often.
        lease_seconds: a lease that could not be renewed for so long counts as lost.
        clock: tells seconds, and is never set back.

    Attributes:
        cancel_requested: set when a user asked for the end of the stage.
        lost: set when the attempt owns its stage no longer: stop, touch nothing.
        timeout_seconds: how long the stage may run, as the last renewal said; 0 before the first.
        clock: the one that was given.
    """

    def __init__(
        self,
        lease: Lease,
        *,
        every_seconds: float,
        lease_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.cancel_requested, self.lost = threading.Event(), threading.Event()
        self.timeout_seconds = 0.0
        self._lease, self._every_seconds, self._lease_seconds = lease, every_seconds, lease_seconds
        self._over = threading.Event()
        self.clock, self._renewed_at = clock, clock()
        self._troubles = Troubles("heartbeat")
        self._threads = [
            threading.Thread(target=self._beat, name="heartbeat", daemon=True),
            threading.Thread(target=self._watch, name="lease-watch", daemon=True),
        ]

    def __enter__(self) -> Self:
        self._renewed_at = self.clock()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(JOIN_SECONDS)

    def _beat(self) -> None:
        pause = self._every_seconds
        while not self._over.wait(pause) and not self.lost.is_set():
            asked_at = self.clock()  # the renewal begins no earlier than this
            try:
                renewal = self._lease.heartbeat()
            except LeaseLost as error:
                if not self._over.wait(ENDING_SECONDS):  # whoever has just written its ending owns nothing any more
                    logger.warning("lease lost: %s", error)
                    self.lost.set()
                return
            except Exception as error:  # the lease lives as long as it may, whatever was raised
                self._troubles.failed(error)
                pause = self._retry_in(pause)
            else:
                self._troubles.succeeded()
                self._renewed_at, pause = asked_at, self._every_seconds
                self.timeout_seconds = renewal.timeout_seconds
                if renewal.cancel_requested:
                    self.cancel_requested.set()

    def _watch(self) -> None:
        while not self._over.wait(min(max(0.0, self._left()), WATCH_SECONDS)):
            if self._left() <= 0:
                logger.error("lease not renewed for %.0f s: given up", self._lease_seconds)
                self.lost.set()
                return

    def _left(self) -> float:
        """Return how many seconds the lease can still live."""
        return self._renewed_at + self._lease_seconds - self.clock()

    def _retry_in(self, pause: float) -> float:
        pause = FIRST_RETRY_SECONDS if pause == self._every_seconds else pause * 2
        return min(pause, self._every_seconds, max(self._left(), 0.0))
