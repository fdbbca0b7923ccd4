"""The outlook of the fleet, which many requests ask for and which is the same for all."""

from __future__ import annotations

import threading
import time

from services.db.engine import Session
from services.queue.outlook import Outlook, look_ahead

SHARE = 20
"""An outlook holds for so often the time that it took: however long the queue is, it takes a twentieth of a core."""


class Foresight:
    """Looks ahead for the requests of one process; safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: Outlook | None = None
        self._until = 0.0

    def look(self, session: Session) -> Outlook:
        """Return the outlook of a moment ago, or a new one."""
        with self._lock:
            if self._found is None or time.monotonic() >= self._until:
                began = time.thread_time()
                self._found = look_ahead(session)
                self._until = time.monotonic() + SHARE * (time.thread_time() - began)
            return self._found
