"""One attempt from claim to ending: folders, inputs, the rank process, the output's publication."""

from __future__ import annotations

import contextlib
import logging
import shutil
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from services.db.engine import Database
from services.errors import Cause, Denied, LeaseLost, Unavailable
from services.queue import attempts
from services.queue.attempts import Fact
from services.queue.claim import Claim
from services.settings import Settings
from services.stages import KINDS
from services.stores.artifacts import ArtifactStore
from services.stores.broker import Broker
from services.stores.files import finished_files, tells_of_full_disk, write_atomically
from services.stores.names import OUTPUT, STATE, Place, stage_folder
from worker.contract import Event, StageInput, Task
from worker.host.devices import Grant
from worker.host.endings import Ending, blame_full_disk
from worker.host.forkserver import ForkServers, StartFailed
from worker.host.heartbeat import Heartbeat
from worker.host.meter import Meter
from worker.host.state import State
from worker.host.supervise import Limits, supervise

PAUSE_SECONDS = 1.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WorkerContext:
    """What the threads of one worker process share."""

    id: str
    settings: Settings
    database: Database
    broker: Broker
    store: ArtifactStore
    forkservers: ForkServers
    threads: int
    stopping: threading.Event


LOG_NOTE_BYTES = 100
"""Of the kept end of a log, for the line that says how much came before it."""


class Attempt:
    """One execution of a claimed stage; also the recorder to which its supervisor speaks.

    Args:
        worker: whose attempt it is.
        claim: the stage.
        grant: what it runs on.
        pause_seconds: before a server that was away is asked again.

    Attributes:
        ending: how it ended; None while it runs, and when the lease was lost.
    """

    def __init__(self, worker: WorkerContext, claim: Claim, grant: Grant, pause_seconds: float = PAUSE_SECONDS) -> None:
        self._worker, self._claim, self._grant, self._pause_seconds = worker, claim, grant, pause_seconds
        work = worker.settings.work
        self._output, self._saved = (work / Place(claim.key, claim.attempt, name).path for name in (OUTPUT, STATE))
        self._home, self._folder = work / stage_folder(claim.key), self._output.parent
        self._log = self._folder / "log.txt"
        self._state = State(worker.store, claim, work)
        self._told = ""
        self._meter: Meter | None = None
        self.ending: Ending | None = None

    def run(self) -> dict[str, int]:
        """Run the stage to its end and return how much new work each queue has."""
        settings, claim = self._worker.settings, self._claim
        heart = Heartbeat(self, every_seconds=settings.heartbeat_seconds, lease_seconds=settings.lease_seconds)
        try:
            with heart:
                ending = self._supervise(heart)
                return self._finish(blame_full_disk(ending, settings.work), heart)
        except LeaseLost as error:
            log.warning("lost the lease of %s: %s", claim.label, error)
            return {}
        except Exception as error:  # a fault of ours or of the host; the end of the lease would say less, and later
            log.exception("the attempt at %s failed", claim.label)
            self.ending = Ending("failed", Cause.INTERNAL, f"attempt: {type(error).__name__}: {error}")
            return self._give_back(self.ending)

    def heartbeat(self) -> attempts.Renewal:
        """Renew the lease; see ``worker.host.heartbeat.Lease``."""
        claim, lease = self._claim, self._worker.settings.lease_seconds
        log_tail, usage = self._log_tail(), self._usage
        return self._worker.database.run(
            lambda session: attempts.heartbeat(session, claim.key, claim.attempt, lease, log_tail, usage)
        )

    def record(self, events: Sequence[Event]) -> None:
        """Store events; see ``worker.host.supervise.Recorder``."""
        facts = [Fact(event.type, int(event.time * 1000), event.data) for event in events]
        key, attempt = self._claim.key, self._claim.attempt
        self._worker.database.run(lambda session: attempts.record(session, key, attempt, facts))

    def save_state(self, state: Path, stop: threading.Event) -> None:
        """Publish what is new in a state folder; see ``worker.host.supervise.Recorder``."""
        self._state.publish(state, stop)

    def _supervise(self, heart: Heartbeat) -> Ending:
        with contextlib.ExitStack() as held:
            return self._supervised(heart, held)

    def _supervised(self, heart: Heartbeat, held: contextlib.ExitStack) -> Ending:
        claim, worker = self._claim, self._worker
        try:
            task = self._prepare_patiently(heart)
            if isinstance(task, Ending):
                return task
            task_file = self._folder / "task.json"
            write_atomically(task_file, task.model_dump_json().encode())
            # What a stage leaves among temporary files, killed or not, goes with it.
            own = held.enter_context(tempfile.TemporaryDirectory(prefix="twostream-", ignore_cleanup_errors=True))
            environment = {**self._grant.environment, "TMPDIR": own}
            child = worker.forkservers.run(claim.kind, task_file, self._log, environment, claim.gpus)
        except (StartFailed, Unavailable, OSError) as error:
            log.exception("could not start %s", claim.label)
            cause = Cause.DISK_FULL if tells_of_full_disk(error) else Cause.INTERNAL
            return Ending("failed", cause, f"could not start: {error}")
        log.info("%s: attempt %d is process %d on %s", claim.label, claim.attempt, child.pid, self._grant.name)
        self._meter = Meter(child.pid, self._grant.gpus)
        try:
            with self._meter:
                return supervise(child, task, self, heart, self._limits, worker.stopping)
        except Exception as error:  # a fault of ours ends the attempt, and is told to whoever needs the stage
            log.exception("the supervision of %s failed", claim.label)
            return Ending("failed", Cause.INTERNAL, f"supervision: {type(error).__name__}: {error}")

    @property
    def _usage(self) -> attempts.Usage:
        """What the stage used so far."""
        return attempts.Usage() if self._meter is None else self._meter.usage()

    @property
    def _limits(self) -> Limits:
        settings, kind = self._worker.settings, self._claim.kind
        minutes = KINDS[kind].stall_minutes if settings.stall_minutes is None else settings.stall_minutes
        return Limits(self._claim.timeout_seconds, settings.grace_seconds, minutes * 60 if minutes else None)

    def _prepare_patiently(self, heart: Heartbeat) -> Task | Ending:
        """Prepare once the artifact store answers and the work root has room; an ending if the stage is wanted no more.

        Raises:
            Denied: it answers, and has not what the stage needs.
        """
        while True:
            try:
                task = self._prepare()
            except Denied:
                raise
            except Unavailable as error:
                if ending := self._pause(str(error), heart, "before it began"):
                    return ending
            except OSError as error:
                if not tells_of_full_disk(error):
                    raise
                if ending := self._pause(f"work root {self._worker.settings.work}: {error}", heart, "before it began"):
                    return ending
            else:
                if self._told:
                    self._tell("goes on")
                return task

    def _pause(self, what: str, heart: Heartbeat, when: str) -> Ending | None:
        """Wait a moment for a server that is away or a full disk; return an ending if the stage is wanted no more.

        Raises:
            LeaseLost: another attempt has it.
        """
        self._tell(f"waits: {what}")
        if heart.lost.wait(self._pause_seconds):
            raise LeaseLost(f"attempt {self._claim.attempt} of {self._claim.label}")
        if heart.cancel_requested.is_set():
            return Ending("cancelled", Cause.CANCELLED, f"cancelled {when}")
        if self._worker.stopping.is_set():
            return Ending("preempted", Cause.PREEMPTED, f"the worker shut down {when}")
        return None

    def _tell(self, message: str) -> None:
        """Tell the users of the stage, once, unless it is the database that is away."""
        if message == self._told:
            return
        log.warning("%s %s", self._claim.label, message)
        with contextlib.suppress(Unavailable):
            self.record([Event(time=time.time(), type="warning", data={"message": message})])
            self._told = message

    def _prepare(self) -> Task:
        """Lay out the attempt's folder, with the state that earlier attempts left, and fetch its inputs."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._output.mkdir(parents=True)
        self._state.restore(self._saved)
        claim = self._claim
        return Task(
            key=claim.key,
            kind=claim.kind,
            attempt=claim.attempt,
            params=claim.params,
            inputs=tuple(
                StageInput(name=entry.name, kind=entry.kind, key=entry.key, path=self._worker.store.fetch(entry.output))
                for entry in claim.inputs
            ),
            output=self._output,
            state=self._saved,
            events=self._folder / "events.jsonl",
            result=self._folder / "result.json",
            data_root=self._worker.settings.data,
            frame_cache_bytes=int(self._worker.settings.frame_cache_gigabytes * 10**9),
            max_frame_pixels=int(self._worker.settings.max_frame_megapixels * 10**6),
            max_decode_bytes=int(self._worker.settings.max_decode_gigabytes * 10**9),
            checkpoint_seconds=self._worker.settings.checkpoint_seconds,
            device=self._grant.device,
            threads=self._worker.threads,
        )

    def _finish(self, ending: Ending, heart: Heartbeat) -> dict[str, int]:
        """Publish and write the ending; a server that is away is waited for while the lease holds.

        A full artifact store may keep us waiting for ever, so that a cancel and a shutdown are heard meanwhile.
        """
        while True:
            try:
                queues = self._write(ending)
            except Unavailable as error:
                other = self._pause(str(error), heart, "before its output was published")
                if ending.status == "succeeded" and other is not None:
                    ending = other
            except LeaseLost:
                raise
            except Exception as error:
                if ending.status != "succeeded":
                    raise
                log.exception("the success of %s cannot be written", self._claim.label)
                ending = Ending(
                    "failed", Cause.INTERNAL, f"its success cannot be written: {type(error).__name__}: {error}"
                )
            else:
                self.ending = ending
                return queues

    def _write(self, ending: Ending) -> dict[str, int]:
        claim, database = self._claim, self._worker.database
        if ending.status == "lost":
            raise LeaseLost(ending.message)
        if ending.status == "succeeded":
            disk_bytes = sum((self._output / name).stat().st_size for name in finished_files(self._output))
            usage = self._usage_of(ending, disk_bytes)
            place = self._state.publish_output(self._output)
            files = [name for name in KINDS[claim.kind].published if (self._output / name).is_file()]
            log_tail = self._log_tail() or ""
            queues = database.run(
                lambda session: attempts.succeed(
                    session,
                    claim.key,
                    claim.attempt,
                    summary=ending.summary or {},
                    output=place,
                    log=log_tail,
                    files=files,
                    usage=usage,
                )
            )
            self._clean_up()
            return queues
        message = ending.message
        last_word = next(iter(ending.last_words.splitlines()[-1:]), "")
        if ending.cause is Cause.INTERNAL and last_word not in message:
            message = f"{message}; last words: {last_word}"
        last_log, usage = self._log_tail(), self._usage
        return database.run(
            lambda session: attempts.fail(
                session,
                claim.key,
                claim.attempt,
                cause=ending.cause or Cause.INTERNAL,
                message=message,
                log=last_log,
                exit_code=ending.exit_code if ending.signal is None else -ending.signal,
                usage=usage,
            )
        )

    def _usage_of(self, ending: Ending, disk_bytes: int) -> attempts.Usage:
        """Return what a stage used that has succeeded: the meter has not seen its last moment."""
        seconds = [each for each in (self._usage.cpu_seconds, ending.cpu_seconds) if each is not None]
        return attempts.Usage(
            ending.memory_bytes, ending.gpu_memory_bytes, disk_bytes, max(seconds, default=None), self._usage.curves
        )

    def _give_back(self, ending: Ending) -> dict[str, int]:
        """Write an ending with nothing but what it says itself, if the lease and the database allow."""
        key, attempt, cause = self._claim.key, self._claim.attempt, ending.cause or Cause.INTERNAL
        try:
            return self._worker.database.run(
                lambda session: attempts.fail(session, key, attempt, cause=cause, message=ending.message)
            )
        except (LeaseLost, Unavailable) as error:
            log.warning("the ending of %s is not written: %s", self._claim.label, error)
            return {}

    def _clean_up(self) -> None:
        """Drop what only an unfinished stage needs."""
        shutil.rmtree(self._home, ignore_errors=True)
        self._state.discard()

    def _log_tail(self) -> str | None:
        try:
            with self._log.open("rb") as file:
                most = attempts.LOG_BYTES - LOG_NOTE_BYTES
                file.seek(max(0, self._log.stat().st_size - most))
                end = file.read()[-most:]
                left_out = file.tell() - len(end)
                note = f"[{left_out} bytes before this are left out]\n" if left_out else ""
                return note + end.decode(errors="replace")
        except OSError:  # there is none yet, or the disk does not give it: no lease and no ending depends on it
            return None
