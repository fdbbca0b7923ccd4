"""Watches one attempt: forwards its events, ends it when asked, and tells from what it left how it ended.

Pure supervision: the store is behind ``Ledger``, the lease behind ``Heartbeat``, and both fail in foreseen ways.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from pydantic import ValidationError

from services.errors import Cause, LeaseLost, Unavailable
from worker.endings import Ending, judge, kernel_oom_kills, last_words, read_outcome
from worker.forkserver import Child, Exit
from worker.heartbeat import Heartbeat, Lease
from worker.rank import EXIT_SUCCEEDED
from worker.saver import Saver
from worker.task import Event, Task

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.1
FORWARD_SECONDS = 0.5
RETRY_SECONDS = 2.0
KILLED_WITHIN_SECONDS = 10.0
SAVE_PATIENCE_SECONDS = 300.0
"""How long a store that does not take the state of an ended stage is tried again."""


class Ledger(Lease, Protocol):
    """What a supervisor says to the database, fenced by the attempt's number.

    Every method may raise ``LeaseLost`` and ``Unavailable``, and is called again with the same arguments after the
    latter. ``heartbeat`` and ``save_state`` are called from threads of their own.
    """

    def record(self, events: Sequence[Event]) -> None:
        """Store events, in order."""
        raise NotImplementedError

    def save_state(self, state: Path, stop: threading.Event) -> None:
        """Keep what is new in a state folder where another host's attempt finds it, until told to stop."""
        raise NotImplementedError


def supervise(
    child: Child,
    task: Task,
    ledger: Ledger,
    heartbeat: Heartbeat,
    *,
    timeout_seconds: float,
    grace_seconds: float,
    stop: threading.Event,
) -> Ending:
    """Stay with a child until it has ended, and return how.

    Args:
        child: the running stage.
        task: what it runs.
        ledger: receives its events.
        heartbeat: a running heartbeat of the same attempt.
        timeout_seconds: wall-clock time after which the stage is ended.
        grace_seconds: time between SIGTERM and SIGKILL, for a checkpoint.
        stop: set when the worker shuts down.
    """
    attempt = _Attempt(child, task, ledger, heartbeat)
    limits = _Limits(time.monotonic() + timeout_seconds, timeout_seconds, grace_seconds, stop)
    ooms = kernel_oom_kills()
    try:
        ended = attempt.watch(limits)
        attempt.deliver(ended)
    except LeaseLost as error:
        return Ending("lost", Cause.WORKER_LOST, str(error))
    finally:
        attempt.give_up()
        _make_sure_it_ended(child)
    out_of_memory = (kernel_oom_kills() or 0) > (ooms or 0)
    return judge(ended, read_outcome(task.result), attempt.asked, last_words(child.log_file), out_of_memory)


@dataclass(frozen=True)
class _Limits:
    deadline: float
    timeout_seconds: float
    grace_seconds: float
    stop: threading.Event


class _Attempt:
    """The state of one supervision."""

    def __init__(self, child: Child, task: Task, ledger: Ledger, heartbeat: Heartbeat) -> None:
        self.asked: Ending | None = None
        self._child, self._task, self._ledger, self._heartbeat = child, task, ledger, heartbeat
        self._events = EventTail(task.events)
        self._pending: list[Event] = []
        self._saver = Saver(partial(ledger.save_state, task.state))
        self._next_forward = 0.0
        self._kill_at = float("inf")

    def watch(self, limits: _Limits) -> Exit:
        """Forward events until the child has ended, by itself or because it was asked to."""
        while (ended := self._child.wait(POLL_SECONDS)) is None:
            self._check_lease()
            self._ask_to_end(limits)
            self._forward()
        return ended

    def deliver(self, ended: Exit) -> None:
        """Forward what is left; a database that is away is waited for as long as the lease can live.

        What a stage had finished is saved however it came to an end, also when it could not say so any more. After a
        success nobody goes on from it.
        """
        if ended.code == EXIT_SUCCEEDED:
            self._saver.give_up()
        self._saver.request()
        self._next_forward = 0.0
        patient_until = time.monotonic() + SAVE_PATIENCE_SECONDS
        self._forward()
        while self._pending or not self._saver.idle:
            self._heartbeat.lost.wait(POLL_SECONDS)
            self._check_lease()
            self._forward()
            if self._saver.failing and time.monotonic() > patient_until:
                logger.error("state of %s is not saved: the store does not take it", self._task.key[:12])
                self._saver.give_up()

    def give_up(self) -> None:
        """Save no more."""
        self._saver.give_up()

    def _check_lease(self) -> None:
        if self._heartbeat.lost.is_set():
            raise LeaseLost(f"attempt {self._task.attempt} at {self._task.kind} {self._task.key[:12]}")

    def _ask_to_end(self, limits: _Limits) -> None:
        now = time.monotonic()
        why = self._why_to_end(limits, now)
        if why is not None and self.asked is None:
            self._kill_at = now + limits.grace_seconds
            self._child.terminate(signal.SIGTERM)
        if why is not None and (self.asked is None or why.status == "cancelled"):
            self.asked = why
        if now >= self._kill_at:
            self._kill_at = now + KILLED_WITHIN_SECONDS
            self._child.terminate(signal.SIGKILL)

    def _why_to_end(self, limits: _Limits, now: float) -> Ending | None:
        if self._heartbeat.cancel_requested.is_set():
            return Ending("cancelled", Cause.CANCELLED, "cancelled by request")
        if limits.stop.is_set():
            return Ending("preempted", Cause.PREEMPTED, "the worker shut down")
        if now >= limits.deadline:
            return Ending("failed", Cause.TIMEOUT, f"ran longer than {limits.timeout_seconds:g} s")
        return None

    def _forward(self) -> None:
        if time.monotonic() < self._next_forward:
            return
        self._next_forward = time.monotonic() + FORWARD_SECONDS
        self._pending += self._events.read()
        try:
            if self._pending:
                self._ledger.record(self._pending)
                if any(event.type == "checkpoint" for event in self._pending):
                    self._saver.request()
                self._pending = []
            self._saver.poll()
        except Unavailable as error:
            self._next_forward = time.monotonic() + RETRY_SECONDS
            logger.warning("events or state wait, again in %.0f s: %s", RETRY_SECONDS, error)


def _make_sure_it_ended(child: Child) -> None:
    """Leave no stage behind, whether its lease was lost or the supervision itself broke."""
    if child.wait(0) is None:
        child.terminate(signal.SIGKILL)
        if child.wait(KILLED_WITHIN_SECONDS) is None:
            logger.error("process %d does not end after SIGKILL", child.pid)


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
        self._offset += len(complete) + len(newline)
        events = []
        for line in complete.splitlines():
            try:
                events.append(Event.model_validate_json(line))
            except ValidationError:
                logger.warning("no event in %s: %.200r", self._path, line)
        return events
