"""Supervision of real processes, ended in every way that an attempt can end."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from services.errors import Cause, LeaseLost, Unavailable
from services.queue.attempts import Renewal
from tests.worker.conftest import PATIENCE_SECONDS, Clock, Until
from worker.contract import Event, Task
from worker.host.endings import Ending
from worker.host.forkserver import Child, ForkServer
from worker.host.heartbeat import Heartbeat
from worker.host.supervise import Limits, supervise


@dataclass
class Recorder:
    """Remembers what it is told; ``faults`` are raised, one a call, before anything is remembered.

    A save takes until ``upload`` is set or it is told to stop.
    """

    events: list[Event] = field(default_factory=list)
    saved: list[list[str]] = field(default_factory=list)
    faults: list[Exception] = field(default_factory=list)
    refusals: list[Exception] = field(default_factory=list)
    upload: threading.Event = field(default_factory=threading.Event)
    uploading: threading.Event = field(default_factory=threading.Event)
    cancel: bool = False
    lost: bool = False
    timeout_seconds: float = 0
    hang: threading.Event | None = None

    def heartbeat(self) -> Renewal:
        if self.lost:
            raise LeaseLost("attempt 2 owns it")
        return Renewal(self.cancel, self.timeout_seconds)

    def record(self, events: Sequence[Event]) -> None:
        if self.hang is not None:
            self.hang.wait(PATIENCE_SECONDS)
        if self.faults:
            raise self.faults.pop(0)
        self.events.extend(events)

    def __post_init__(self) -> None:
        self.upload.set()

    def save_state(self, state: Path, stop: threading.Event) -> None:
        self.uploading.set()
        while not self.upload.wait(0.01):
            if stop.is_set():
                return
        if self.refusals:
            raise self.refusals.pop(0)
        self.saved.append(sorted(path.name for path in state.iterdir()))

    @property
    def types(self) -> list[str]:
        return [event.type for event in self.events]


@dataclass
class Watch:
    """A supervision that runs in a thread, as in the worker, while the test does things to it."""

    server: ForkServer
    file: Path
    recorder: Recorder
    stop: threading.Event = field(default_factory=threading.Event)
    child: Child = field(init=False)
    heartbeat: Heartbeat = field(init=False)
    ending: Ending = field(init=False)

    def __post_init__(self) -> None:
        self.task = Task.model_validate_json(self.file.read_text())
        self.child = self.server.run(self.file, self.file.with_name("log"), {})

    def begin(self, **patience: Any) -> None:
        self.thread = threading.Thread(target=self.run, kwargs=patience)
        self.thread.start()

    def run(self, lease_seconds: float = 3600, clock: Callable[[], float] = time.monotonic, **limits: float) -> None:
        limits_ = Limits(**{"timeout_seconds": 3600, "grace_seconds": 3600} | limits)
        lease = {"every_seconds": 0.05, "lease_seconds": lease_seconds}
        with Heartbeat(self.recorder, **lease, clock=clock) as self.heartbeat:
            self.ending = supervise(self.child, self.task, self.recorder, self.heartbeat, limits_, self.stop)

    def end(self) -> Ending:
        self.thread.join(PATIENCE_SECONDS)
        assert not self.thread.is_alive()
        assert self.child.wait(0) is not None
        return self.ending


@pytest.fixture
def watch(light: ForkServer, make_task: Callable[..., Path], until: Until) -> Callable[..., Watch]:
    """A function that starts a script, has it supervised once it has begun, and returns then."""

    def begin(script: str | None, recorder: Recorder | None = None, begun: int = 1, **patience: Any) -> Watch:
        found = Watch(light, make_task(script), recorder or Recorder())
        until(lambda: found.task.events.exists() and found.task.events.read_text().count("\n") >= begun)
        found.begin(**patience)
        return found

    return begin


def test_success_loses_nothing(watch: Callable[..., Watch]) -> None:
    attempt = watch("metrics")
    ending = attempt.end()
    assert ending.memory_bytes
    assert ending.cpu_seconds
    assert replace(ending, memory_bytes=None, cpu_seconds=None) == Ending(
        "succeeded", summary={}, exit_code=0, last_words="said on standard output"
    )
    assert attempt.recorder.types == ["progress", *["metrics"] * 5, "progress"]
    assert attempt.recorder.saved == []


def test_a_failure_says_why(watch: Callable[..., Watch]) -> None:
    ending = watch("data_error").end()
    assert (ending.status, ending.cause, ending.exit_code) == ("failed", Cause.DATA_ERROR, 70)
    assert ending.message == "trainlist01.txt:3: no clip a/b.avi"
    assert "no clip a/b.avi" in ending.last_words


def test_kill_9_of_the_rank_is_a_lost_worker_and_keeps_its_events(watch: Callable[..., Watch]) -> None:
    attempt = watch(None)
    os.kill(attempt.child.pid, signal.SIGKILL)
    ending = attempt.end()
    assert (ending.status, ending.cause, ending.signal) == ("failed", Cause.WORKER_LOST, signal.SIGKILL)
    assert attempt.recorder.types == ["progress"]


def test_kill_9_of_the_zygote_is_a_lost_worker(watch: Callable[..., Watch], light: ForkServer) -> None:
    attempt = watch(None)
    assert light.pid is not None
    os.kill(light.pid, signal.SIGKILL)
    ending = attempt.end()
    assert (ending.status, ending.cause, ending.signal) == ("failed", Cause.WORKER_LOST, None)


@pytest.mark.parametrize(
    ("script", "status", "cause"),
    [("segfault", "failed", Cause.INTERNAL), ("terminated", "preempted", Cause.PREEMPTED)],
)
def test_death_by_another_signal(watch: Callable[..., Watch], script: str, status: str, cause: Cause) -> None:
    ending = watch(script).end()
    assert (ending.status, ending.cause) == (status, cause)
    assert ending.last_words.startswith("last words")
    assert ("Fatal Python error: Segmentation fault" in ending.last_words) == (script == "segfault")


def test_sigterm_from_elsewhere_is_a_preemption_with_a_checkpoint(watch: Callable[..., Watch]) -> None:
    attempt = watch(None)
    os.kill(attempt.child.pid, signal.SIGTERM)
    ending = attempt.end()
    assert (ending.status, ending.exit_code) == ("preempted", 75)
    assert attempt.recorder.types == ["progress", "checkpoint"]


def test_a_worker_that_shuts_down_keeps_the_checkpoint(watch: Callable[..., Watch]) -> None:
    attempt = watch(None)
    attempt.stop.set()
    ending = attempt.end()
    assert (ending.status, ending.cause, ending.exit_code) == ("preempted", Cause.PREEMPTED, 75)
    assert attempt.recorder.types == ["progress", "checkpoint"]
    assert attempt.recorder.saved[-1] == ["checkpoint.pt", "pid0"]


@pytest.mark.parametrize("ends", ["SIGKILL", "SIGTERM", "cancel", "shutdown"])
def test_what_was_finished_is_saved_however_a_stage_ends(watch: Callable[..., Watch], until: Until, ends: str) -> None:
    attempt = watch("parts", begun=2)
    until(lambda: attempt.recorder.saved == [["first"]])
    (attempt.task.state / "go").touch()
    until(lambda: "metrics" in attempt.recorder.types)
    assert attempt.recorder.saved == [["first"]]
    if ends == "cancel":
        attempt.recorder.cancel = True
    elif ends == "shutdown":
        attempt.stop.set()
    else:
        os.kill(attempt.child.pid, getattr(signal, ends))
    attempt.end()
    assert attempt.recorder.saved == [["first"], ["first", "go", "second"]]


def test_a_long_upload_holds_up_neither_events_nor_the_end_of_the_stage(
    watch: Callable[..., Watch], until: Until
) -> None:
    recorder = Recorder()
    recorder.upload.clear()
    attempt = watch("parts", recorder, begun=2)
    assert recorder.uploading.wait(PATIENCE_SECONDS)
    (attempt.task.state / "go").touch()
    until(lambda: "metrics" in recorder.types)
    attempt.stop.set()
    until(lambda: attempt.child.wait(0) is not None)
    assert recorder.saved == []
    recorder.upload.set()
    assert attempt.end().status == "preempted"
    assert recorder.saved == [["first", "go", "second"]] * 2


def test_success_waits_for_no_upload(watch: Callable[..., Watch], until: Until) -> None:
    recorder = Recorder()
    recorder.upload.clear()
    attempt = watch("parts", recorder, begun=2)
    assert recorder.uploading.wait(PATIENCE_SECONDS)
    for name in ("go", "end"):
        (attempt.task.state / name).touch()
    assert attempt.end().status == "succeeded"
    until(lambda: not [thread for thread in threading.enumerate() if thread.name == "saver"])
    assert recorder.saved == []


def test_a_lost_lease_ends_an_upload(watch: Callable[..., Watch], until: Until) -> None:
    recorder = Recorder()
    recorder.upload.clear()
    attempt = watch("parts", recorder, begun=2)
    assert recorder.uploading.wait(PATIENCE_SECONDS)
    recorder.lost = True
    assert attempt.end().status == "lost"
    until(lambda: not [thread for thread in threading.enumerate() if thread.name == "saver"])
    assert recorder.saved == []


def test_a_store_that_is_away_for_a_while_is_tried_again(watch: Callable[..., Watch]) -> None:
    attempt = watch("parts", Recorder(refusals=[Unavailable("bucket")] * 3), begun=2, retry_seconds=0.05)
    attempt.stop.set()
    assert attempt.end().status == "preempted"
    assert attempt.recorder.saved[-1] == ["first"]


def test_a_store_that_stays_away_does_not_keep_a_stage_from_ending(watch: Callable[..., Watch]) -> None:
    recorder = Recorder(refusals=[Unavailable("bucket")] * 99_999)
    attempt = watch("parts", recorder, begun=2, retry_seconds=0.05, save_seconds=0.2)
    attempt.stop.set()
    assert attempt.end().status == "preempted"
    assert attempt.recorder.saved == []


def test_cancel_ends_a_running_stage(watch: Callable[..., Watch]) -> None:
    attempt = watch("sleep")
    attempt.recorder.cancel = True
    ending = attempt.end()
    assert (ending.status, ending.cause, ending.signal) == ("cancelled", Cause.CANCELLED, signal.SIGTERM)


def test_a_stage_deaf_to_sigterm_is_killed_after_its_grace(watch: Callable[..., Watch]) -> None:
    attempt = watch("deaf", begun=2, grace_seconds=0.2)
    attempt.recorder.cancel = True
    ending = attempt.end()
    assert (ending.status, ending.signal) == ("cancelled", signal.SIGKILL)


def test_cancel_has_the_last_word_over_a_shutdown(watch: Callable[..., Watch], until: Until) -> None:
    clock = Clock()
    attempt = watch("stubborn", begun=2, grace_seconds=600, clock=clock)
    attempt.stop.set()
    until(lambda: "was asked to stop" in attempt.task.events.read_text())
    attempt.recorder.cancel = True
    assert attempt.heartbeat.cancel_requested.wait(PATIENCE_SECONDS)
    clock.ahead_seconds = 600
    assert attempt.end().status == "cancelled"


def test_a_stage_that_takes_too_long_is_ended(watch: Callable[..., Watch]) -> None:
    ending = watch(None, timeout_seconds=0.3).end()
    assert (ending.status, ending.cause, ending.exit_code) == ("failed", Cause.TIMEOUT, 75)
    assert ending.message == "ran longer than 0.3 s"


@pytest.mark.parametrize("where", ["heartbeat", "record"])
def test_a_lost_lease_kills_the_group_and_touches_nothing(watch: Callable[..., Watch], where: str) -> None:
    recorder = Recorder(faults=[LeaseLost("attempt 2 owns it")] if where == "record" else [])
    attempt = watch("deaf", recorder)
    recorder.lost = where == "heartbeat"
    ending = attempt.end()
    assert (ending.status, ending.cause) == ("lost", Cause.WORKER_LOST)
    assert recorder.events == [] or where == "heartbeat"


def test_a_database_that_is_away_for_a_while_loses_no_event(watch: Callable[..., Watch]) -> None:
    attempt = watch("metrics", Recorder(faults=[Unavailable("db:5432")] * 3), retry_seconds=0.05)
    assert attempt.end().status == "succeeded"
    assert attempt.recorder.types == ["progress", *["metrics"] * 5, "progress"]


def test_a_database_that_stays_away_ends_the_stage_when_its_lease_is_over(watch: Callable[..., Watch]) -> None:
    class Away(Recorder):
        def heartbeat(self) -> Renewal:
            raise Unavailable("db:5432")

    assert watch("sleep", Away(), lease_seconds=0.3).end().status == "lost"
    assert watch("metrics", Away(faults=[Unavailable("db:5432")] * 99), lease_seconds=0.3).end().status == "lost"


def test_an_event_that_cannot_be_stored_is_left_out_and_holds_up_no_other(
    watch: Callable[..., Watch], caplog: pytest.LogCaptureFixture
) -> None:
    class Picky(Recorder):
        def record(self, events: Sequence[Event]) -> None:
            if any(event.data.get("step") == 3 for event in events):
                raise ZeroDivisionError("no such number")
            super().record(events)

    attempt = watch("metrics", Picky())
    assert attempt.end().status == "succeeded"
    assert [event.data["step"] for event in attempt.recorder.events if event.type == "metrics"] == [1, 2, 4, 5]
    assert "an event cannot be stored" in caplog.text


@pytest.mark.parametrize("way", ["cancel", "shutdown", "timeout", "lost"])
def test_a_database_that_hangs_in_a_report_holds_up_no_end(watch: Callable[..., Watch], way: str) -> None:
    answer = threading.Event()
    recorder = Recorder(hang=answer)
    attempt = watch("sleep", recorder, timeout_seconds=1 if way == "timeout" else 3600)
    recorder.cancel, recorder.lost = way == "cancel", way == "lost"
    if way == "shutdown":
        attempt.stop.set()
    assert attempt.child.wait(PATIENCE_SECONDS / 2) is not None
    assert not answer.is_set()
    answer.set()
    assert attempt.end().status == {"shutdown": "preempted", "cancel": "cancelled", "timeout": "failed"}.get(way, way)


def test_a_time_limit_that_rises_meanwhile_counts(watch: Callable[..., Watch], until: Until) -> None:
    attempt = watch("parts", Recorder(timeout_seconds=3600), begun=2, timeout_seconds=1)
    until(lambda: hasattr(attempt, "heartbeat") and attempt.heartbeat.timeout_seconds == 3600)
    assert attempt.child.wait(2) is None  # beyond its first limit
    for name in ("go", "end"):
        (attempt.task.state / name).touch()
    assert attempt.end().status == "succeeded"


def test_a_stage_that_hangs_is_ended_with_the_stacks_of_its_threads(watch: Callable[..., Watch]) -> None:
    ending = watch("sleep", stall_seconds=0.5).end()
    assert (ending.status, ending.cause) == ("failed", Cause.TIMEOUT)
    assert "no event, no processor time" in ending.message
    assert "scripted_stage.py" in ending.last_words
    assert "in sleep" in ending.last_words


@pytest.mark.long  # `test_stillness.py` has a process that computes
@pytest.mark.parametrize("script", ["compute", "talk"])
def test_a_stage_that_computes_or_reports_does_not_hang(watch: Callable[..., Watch], script: str) -> None:
    attempt = watch(script, stall_seconds=6)
    assert attempt.end().status == "succeeded"
