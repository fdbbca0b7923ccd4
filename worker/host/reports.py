"""Brings a stage's events to the database beside its supervision: a database that is slow delays no cancel."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import ValidationError

from services.errors import LeaseLost, Unavailable
from services.loops import Loop
from worker.contract import Event

logger = logging.getLogger(__name__)

FORWARD_SECONDS = 0.5


class Reports:
    """Forwards what a stage appends to its events file, in order, from a thread of its own.

    Args:
        path: the events file, which the stage makes.
        record: stores events; called again with the same ones after ``Unavailable``.
        retry_seconds: time after which it is.

    Attributes:
        lost: set when the attempt no longer owns its stage.
        checkpointed: set when a checkpoint was stored; whoever saves the state clears it.
    """

    def __init__(self, path: Path, record: Callable[[Sequence[Event]], None], retry_seconds: float) -> None:
        self.lost, self.checkpointed = threading.Event(), threading.Event()
        self._tail, self._record, self._retry_seconds = EventTail(path), record, retry_seconds
        self._pending: list[Event] = []
        self._ended, self._complete = threading.Event(), threading.Event()
        self._loop = Loop("reports", self._forward, FORWARD_SECONDS)

    def start(self) -> None:
        """Begin."""
        self._loop.start()

    def finish(self) -> None:
        """Say that the stage has ended: what its file holds now is all."""
        self._ended.set()
        self._loop.nudge()

    @property
    def complete(self) -> bool:
        """Whether everything is stored, after `finish`."""
        return self._complete.is_set()

    def stop(self) -> None:
        """Forward no more; a call that is under way ends by itself."""
        self._loop.stop(timeout=0)

    def _forward(self) -> float | None:
        ended = self._ended.is_set()  # asked before the file is read
        self._pending += self._tail.read()
        if self._pending and not self.lost.is_set():
            try:
                self._store(self._pending)
            except Unavailable as error:
                logger.warning("events wait, again in %.0f s: %s", self._retry_seconds, error)
                return self._retry_seconds
            except LeaseLost as error:
                logger.warning("events are not stored: %s", error)
                self.lost.set()
        self._pending = []
        if ended:
            self._complete.set()
        return None

    def _store(self, events: Sequence[Event]) -> None:
        """Store events together, or each alone where one of them cannot be stored, which is then left out."""
        try:
            self._record(events)
        except (Unavailable, LeaseLost):
            raise
        except Exception:  # one event that the database refuses must not hold up the others
            if len(events) == 1:
                logger.exception("an event cannot be stored: %.500r", events[0])
                return
            for event in events:
                self._store([event])
        if any(event.type == "checkpoint" for event in events):
            self.checkpointed.set()


class EventTail:
    """Reads the events that were appended to a file since the last reading, complete lines only."""

    def __init__(self, path: Path) -> None:
        self._path, self._offset = path, 0

    def read(self) -> list[Event]:
        """Return the new events; a line that is no event is skipped, with a warning."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                complete, newline, _ = file.read().rpartition(b"\n")
        except FileNotFoundError:  # the stage has not begun
            return []
        except OSError as error:  # the stage ends with what was read before
            logger.warning("events cannot be read: %s", error)
            return []
        self._offset += len(complete) + len(newline)
        events = []
        for line in complete.splitlines():
            try:
                events.append(Event.model_validate_json(line))
            except ValidationError:
                logger.warning("no event in %s: %.200r", self._path, line)
        return events
