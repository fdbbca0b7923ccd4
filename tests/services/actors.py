"""Transactions that are run statement by statement, so that a test decides how they interleave."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from sqlalchemy import event, text

from services.db.engine import Database

PATIENCE_SECONDS = 120.0
LOOK_SECONDS = 0.01


class Actor:
    """One connection and one thread, held before each statement and each commit until it is let go on."""

    def __init__(self, url: str, observer: Database, name: str) -> None:
        self.name, self._observer = name, observer
        self.database = Database(url, pool_size=1, patience_seconds=PATIENCE_SECONDS)
        self.done: Future[Any] | None = None
        self._pid = 0
        self._held, self._go, self._free = threading.Event(), threading.Event(), threading.Event()
        with self.database.transaction() as session:
            self._pid = session.scalar(text("SELECT pg_backend_pid()")) or 0
        event.listen(self.database.engine, "before_cursor_execute", self._hold)
        event.listen(self.database.engine, "commit", self._hold)

    @property
    def idle(self) -> bool:
        """Whether it has nothing to do."""
        return self.done is None

    def begin(self, work: Callable[[Database], Any]) -> None:
        """Begin some work, and return when it is held before its first statement."""
        assert self.done is None
        self.done = Future()
        for flag in (self._free, self._go, self._held):
            flag.clear()
        threading.Thread(target=self._work, args=(work, self.done), name=self.name, daemon=True).start()
        self._wait()

    def step(self) -> None:
        """Let it go on to the next statement, or to its end, or to a lock that another actor holds."""
        if self.done is not None and self._held.is_set() and not self.done.done():
            self._held.clear()
            self._go.set()
            self._wait()

    def finish(self) -> None:
        """Let it go on to its end, unless another actor must give up a lock first."""
        while self.done is not None and self._held.is_set() and not self.done.done():
            self.step()

    def set_free(self) -> None:
        """Let it go on without being held any more."""
        self._free.set()
        self._go.set()

    def result(self) -> Any:
        """Return or raise what its work came to, and be idle again."""
        assert self.done is not None
        done, self.done = self.done, None
        return done.result(PATIENCE_SECONDS)

    def close(self) -> None:
        """Close its connection."""
        self.database.close()

    def _work(self, work: Callable[[Database], Any], done: Future[Any]) -> None:
        try:
            done.set_result(work(self.database))
        except BaseException as error:
            done.set_exception(error)
        self._held.set()  # by its end

    def _hold(self, *_: Any) -> None:
        if self._free.is_set():
            return
        self._held.set()
        assert self._go.wait(PATIENCE_SECONDS), f"{self.name} was forgotten"
        self._go.clear()

    def _wait(self) -> None:
        """Return when it is held, has ended, or waits for a lock."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        assert self.done is not None
        while not self._held.wait(LOOK_SECONDS) and not self.done.done():
            assert time.monotonic() < deadline, f"{self.name} does not go on"
            with self._observer.transaction() as session:
                query = text("SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = :pid")
                if session.scalar(query, {"pid": self._pid}):
                    return
