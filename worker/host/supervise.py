"""Watches one attempt: ends its stage when asked, and tells from what it left how it ended.

Pure supervision: the store is behind ``Recorder``, the lease behind ``Heartbeat``, and both fail in foreseen ways. The
supervising thread itself asks neither: what may hang, hangs in threads of its own.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from services.errors import Cause, LeaseLost
from services.loops import Troubles
from worker.contract import EXIT_SUCCEEDED, Event, Task
from worker.host.endings import Ending, judge, kernel_oom_kills, last_words, read_outcome
from worker.host.forkserver import Child, Exit
from worker.host.heartbeat import Heartbeat, Lease
from worker.host.reports import Reports
from worker.host.saver import Saver
from worker.host.stillness import Stillness

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.1
RETRY_SECONDS = 2.0
DUMP_SECONDS = 2.0
"""Time for a stage that hangs to write its stacks, before it is asked to end."""
DELIVER_SECONDS = 0.02
"""Between two looks at whether all was delivered: a short stage does not wait for a long poll."""
KILLED_WITHIN_SECONDS = 10.0
SAVE_SECONDS = 300.0


class Recorder(Lease, Protocol):
    """What a supervisor says to the database, fenced by the attempt's number.

    Every method may raise ``LeaseLost`` and ``Unavailable``, and is called again with the same arguments after the
    latter. Each is called from a thread of its own.
    """

    def record(self, events: Sequence[Event]) -> None:
        """Store events, in order."""
        raise NotImplementedError

    def save_state(self, state: Path, stop: threading.Event) -> None:
        """Keep what is new in a state folder where another host's attempt finds it, until told to stop."""
        raise NotImplementedError


@dataclass(frozen=True)
class Limits:
    """When a stage is ended that does not end by itself.

    Attributes:
        timeout_seconds: wall-clock time after which it is ended; the heartbeat may learn of a longer one meanwhile.
        grace_seconds: time between SIGTERM and SIGKILL, for a checkpoint.
        stall_seconds: time after which it is ended if it does nothing; None lets it.
        retry_seconds: time after which a database or store that was away is asked again.
        save_seconds: how long a store that does not take the state of an ended stage is tried again.
    """

    timeout_seconds: float
    grace_seconds: float
    stall_seconds: float | None = None
    retry_seconds: float = RETRY_SECONDS
    save_seconds: float = SAVE_SECONDS


def supervise(
    child: Child, task: Task, recorder: Recorder, heartbeat: Heartbeat, limits: Limits, stop: threading.Event
) -> Ending:
    """Stay with a child until it has ended, and return how.

    Args:
        child: the running stage.
        task: what it runs.
        recorder: receives its events.
        heartbeat: a running heartbeat of the same attempt.
        limits: when it is ended.
        stop: set when the worker shuts down.
    """
    supervision = _Supervision(child, task, recorder, heartbeat, limits)
    ooms = kernel_oom_kills()
    try:
        ended = supervision.watch(stop)
        supervision.deliver(ended)
    except LeaseLost as error:
        return Ending("lost", Cause.WORKER_LOST, str(error))
    finally:
        supervision.give_up()
        _make_sure_it_ended(child)
    out_of_memory = (kernel_oom_kills() or 0) > (ooms or 0)
    return judge(ended, read_outcome(task.result), supervision.asked, last_words(child.log_file), out_of_memory)


class _Supervision:
    """The state of one supervision."""

    def __init__(self, child: Child, task: Task, recorder: Recorder, heartbeat: Heartbeat, limits: Limits) -> None:
        self.asked: Ending | None = None
        self._child, self._task, self._heartbeat, self._limits = child, task, heartbeat, limits
        self._clock = heartbeat.clock
        self._reports = Reports(task.events, recorder.record, limits.retry_seconds)
        self._saver = Saver(partial(recorder.save_state, task.state))
        self._stillness = Stillness(child.pid, task.events)
        self._began_at = self._clock()
        self._troubles = Troubles(f"saving the state of {task.kind} {task.key[:12]}")
        self._next_save = 0.0
        self._kill_at = float("inf")

    def watch(self, stop: threading.Event) -> Exit:
        """Stay until the child has ended, by itself or because it was asked to."""
        self._reports.start()
        while (ended := self._child.wait(POLL_SECONDS)) is None:
            self._check_lease()
            self._ask_to_end(stop)
            self._save()
        return ended

    def deliver(self, ended: Exit) -> None:
        """Wait until what is left is stored; a database that is away is waited for as long as the lease can live.

        What a stage had finished is saved however it came to an end, also when it could not say so any more. After a
        success nobody goes on from it.
        """
        if ended.code == EXIT_SUCCEEDED:
            self._saver.give_up()
        self._saver.request()
        self._reports.finish()
        self._next_save = 0.0
        patient_until = self._clock() + self._limits.save_seconds
        self._save()
        while not self._reports.complete or not self._saver.idle:
            self._heartbeat.lost.wait(DELIVER_SECONDS)
            self._check_lease()
            self._save()
            if self._saver.failing and self._clock() > patient_until:
                logger.error("state of %s is not saved: the store does not take it", self._task.key[:12])
                self._saver.give_up()
        self._check_lease()

    def give_up(self) -> None:
        """Save and report no more."""
        self._saver.give_up()
        self._reports.stop()

    def _check_lease(self) -> None:
        if self._heartbeat.lost.is_set() or self._reports.lost.is_set():
            raise LeaseLost(f"attempt {self._task.attempt} at {self._task.kind} {self._task.key[:12]}")

    def _ask_to_end(self, stop: threading.Event) -> None:
        now = self._clock()
        why = self._why_to_end(stop, now)
        if why is not None and self.asked is None:
            self._kill_at = now + self._limits.grace_seconds
            self._child.terminate(signal.SIGTERM)
        if why is not None and (self.asked is None or why.status == "cancelled"):
            self.asked = why
        if now >= self._kill_at:
            self._kill_at = now + KILLED_WITHIN_SECONDS
            self._child.terminate(signal.SIGKILL)

    def _why_to_end(self, stop: threading.Event, now: float) -> Ending | None:
        if self._heartbeat.cancel_requested.is_set():
            return Ending("cancelled", Cause.CANCELLED, "cancelled by request")
        if stop.is_set():
            return Ending("preempted", Cause.PREEMPTED, "the worker shut down")
        limits = self._limits
        timeout = max(limits.timeout_seconds, self._heartbeat.timeout_seconds)
        if now >= self._began_at + timeout:
            return Ending("failed", Cause.TIMEOUT, f"ran longer than {timeout:g} s")
        if limits.stall_seconds is not None and self.asked is None:
            return self._why_stalled(limits.stall_seconds)
        return None

    def _why_stalled(self, limit: float) -> Ending | None:
        """Return the ending of a stage that hangs, after it was made to say where."""
        if self._stillness.seconds() < limit:
            return None
        self._stillness.dump()
        self._child.wait(DUMP_SECONDS)
        message = (
            f"did nothing for {limit / 60:g} min: no event, no processor time; the log has the stacks of its threads"
        )
        return Ending("failed", Cause.TIMEOUT, message)

    def _save(self) -> None:
        """Have the state saved if a checkpoint came; return at once."""
        if self._reports.checkpointed.is_set():
            self._reports.checkpointed.clear()
            self._saver.request()
        if self._clock() < self._next_save:
            return
        try:
            self._saver.poll()
        except Exception as error:  # the stage goes on, whatever becomes of its saved state
            self._next_save = self._clock() + self._limits.retry_seconds
            self._troubles.failed(error)


def _make_sure_it_ended(child: Child) -> None:
    """Leave no stage behind, whether its lease was lost or the supervision itself broke."""
    if child.wait(0) is None:
        child.terminate(signal.SIGKILL)
        if child.wait(KILLED_WITHIN_SECONDS) is None:
            logger.error("process %d does not end after SIGKILL", child.pid)
