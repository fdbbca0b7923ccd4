"""Keeps an attempt's lease from its claim to the publication of its output, whatever else the worker waits for."""

from __future__ import annotations

import logging
import threading
import time
from types import TracebackType
from typing import Protocol, Self

from services.errors import LeaseLost, Unavailable

logger = logging.getLogger(__name__)

ENDING_SECONDS = 0.5
FIRST_RETRY_SECONDS = 0.5


class Lease(Protocol):
    """An attempt's claim on its stage."""

    def heartbeat(self) -> bool:
        """Renew the lease and return whether cancel was requested.

        Raises:
            LeaseLost: another attempt owns the stage.
            Unavailable: the database does not answer.
        """
        raise NotImplementedError


class Heartbeat:
    """Renews a lease from a thread of its own while its ``with`` block runs.

    Args:
        lease: called from the thread alone.
        every_seconds: time between renewals; a database that is away is asked again sooner, then less and less often.
        lease_seconds: a lease that could not be renewed for so long counts as lost.

    Attributes:
        cancel_requested: set when a user asked for the end of the stage.
        lost: set when the attempt owns its stage no longer: stop, touch nothing.
    """

    def __init__(self, lease: Lease, *, every_seconds: float, lease_seconds: float) -> None:
        self.cancel_requested = threading.Event()
        self.lost = threading.Event()
        self._lease, self._every_seconds, self._lease_seconds = lease, every_seconds, lease_seconds
        self._over = threading.Event()
        self._renewed_at = time.monotonic()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._renewed_at = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _beat(self) -> None:
        pause = self._every_seconds
        try:
            while not self._over.wait(pause):
                asked_at = time.monotonic()  # the renewal begins no earlier than this
                try:
                    if self._lease.heartbeat():
                        self.cancel_requested.set()
                except Unavailable as error:
                    pause = self._retry_in(pause, error)
                else:
                    self._renewed_at, pause = asked_at, self._every_seconds
                if time.monotonic() - self._renewed_at > self._lease_seconds:
                    logger.error("lease not renewed for %.0f s: given up", self._lease_seconds)
                    return
        except LeaseLost as error:
            if not self._over.wait(ENDING_SECONDS):  # whoever has just written its ending owns nothing any more
                logger.warning("lease lost: %s", error)
        finally:  # also after an error that nobody foresaw: without a heart the lease runs out
            if not self._over.is_set():
                self.lost.set()

    def _retry_in(self, pause: float, error: Unavailable) -> float:
        left = self._renewed_at + self._lease_seconds - time.monotonic()
        pause = FIRST_RETRY_SECONDS if pause == self._every_seconds else pause * 2
        pause = min(pause, self._every_seconds, max(left, 0.0))
        logger.warning("heartbeat failed, again in %.1f s: %s", pause, error)
        return pause
