"""One attempt from claim to ending: folders, inputs, the rank process, the output's publication."""

from __future__ import annotations

import contextlib
import logging
import shutil
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from services import queue
from services.artifacts import ArtifactStore
from services.broker import Broker
from services.claim import Claim
from services.db.engine import Database
from services.errors import Cause, Denied, LeaseLost, Unavailable
from services.queue import Fact
from services.settings import Settings
from worker.devices import Grant
from worker.endings import Ending, full_disk
from worker.forkserver import ForkServers, StartFailed
from worker.heartbeat import Heartbeat
from worker.state import State
from worker.supervise import supervise
from worker.task import Event, StageInput, Task, write_atomically

PUBLISHED = {
    "finetune": ("model.pt",),
    "train": ("model.pt",),
    "score": ("scores.json",),
    "fuse": ("results.json",),
}
"""Files of an output that MLflow holds as artifacts."""

PAUSE_SECONDS = 1.0
"""Pause before a server that was away is asked again."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Worker:
    """What the threads of one worker process share."""

    id: str
    settings: Settings
    database: Database
    broker: Broker
    store: ArtifactStore
    forkservers: ForkServers
    threads: int
    stopping: threading.Event


class Attempt:
    """One execution of a claimed stage; also the ledger to which its supervisor speaks."""

    def __init__(self, worker: Worker, claim: Claim, grant: Grant) -> None:
        self._worker, self._claim, self._grant = worker, claim, grant
        self._home = worker.settings.work / "stages" / claim.key[:2] / claim.key
        self._folder = self._home / str(claim.attempt)
        self._log = self._folder / "log.txt"
        self._state = State(worker.store, claim, self._home)
        self._told = ""

    def run(self) -> dict[str, int]:
        """Run the stage to its end and return how much new work each queue has."""
        settings, claim = self._worker.settings, self._claim
        heart = Heartbeat(self, every_seconds=settings.heartbeat_seconds, lease_seconds=settings.lease_seconds)
        try:
            with heart:
                ending = self._supervise(heart)
                return self._finish(ending, heart)
        except LeaseLost as error:
            log.warning("lost the lease of %s: %s", claim.label, error)
            return {}

    def heartbeat(self) -> bool:
        """Renew the lease; see ``worker.heartbeat.Lease``."""
        with self._worker.database.transaction() as session:
            lease = self._worker.settings.lease_seconds
            return queue.heartbeat(session, self._claim.key, self._claim.attempt, lease, self._log_tail())

    def record(self, events: Sequence[Event]) -> None:
        """Store events; see ``worker.supervise.Ledger``."""
        facts = [Fact(event.type, int(event.time * 1000), event.data) for event in events]
        with self._worker.database.transaction() as session:
            queue.record(session, self._claim.key, self._claim.attempt, facts)

    def save_state(self, state: Path, stop: threading.Event) -> None:
        """Publish what is new in a state folder; see ``worker.supervise.Ledger``."""
        self._state.publish(state, stop)

    def _supervise(self, heart: Heartbeat) -> Ending:
        claim, worker = self._claim, self._worker
        try:
            task = self._prepare_patiently(heart)
            if isinstance(task, Ending):
                return task
            task_file = self._folder / "task.json"
            write_atomically(task_file, task.model_dump_json().encode())
            child = worker.forkservers.run(claim.kind, task_file, self._log, self._grant.environment, claim.gpus)
        except (StartFailed, Unavailable, OSError) as error:
            log.exception("could not start %s", claim.label)
            return Ending("failed", Cause.INTERNAL, f"could not start: {error}")
        log.info("%s: attempt %d is process %d on %s", claim.label, claim.attempt, child.pid, self._grant.name)
        return supervise(
            child,
            task,
            self,
            heart,
            timeout_seconds=claim.timeout_seconds,
            grace_seconds=worker.settings.grace_seconds,
            stop=worker.stopping,
        )

    def _prepare_patiently(self, heart: Heartbeat) -> Task | Ending:
        """Prepare once the artifact store answers; an ending if the stage is wanted no more before that.

        Raises:
            Denied: it answers, and has not what the stage needs.
        """
        while True:
            try:
                task = self._prepare()
            except Denied:
                raise
            except Unavailable as error:
                if ending := self._pause(error, heart, "before it began"):
                    return ending
            else:
                if self._told:
                    self._tell("goes on")
                return task

    def _pause(self, error: Unavailable, heart: Heartbeat, when: str) -> Ending | None:
        """Wait a moment for a server that is away; return an ending if the stage is wanted no more.

        Raises:
            LeaseLost: it is somebody else's.
        """
        self._tell(f"waits: {error}")
        if heart.lost.wait(PAUSE_SECONDS):
            raise LeaseLost(f"attempt {self._claim.attempt} of {self._claim.label}") from error
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
        output, state = self._folder / "output", self._folder / "state"
        output.mkdir(parents=True)
        self._state.restore(state)
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
            output=output,
            state=state,
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
                return self._write(ending)
            except Unavailable as error:
                other = self._pause(error, heart, "before its output was published")
                if ending.status == "succeeded" and other is not None:
                    ending = other

    def _write(self, ending: Ending) -> dict[str, int]:
        claim, database = self._claim, self._worker.database
        if ending.status == "lost":
            raise LeaseLost(ending.message)
        if ending.status == "succeeded":
            place = self._state.publish_output(self._folder / "output")
            files = [name for name in PUBLISHED.get(claim.kind, ()) if (self._folder / "output" / name).is_file()]
            with database.transaction() as session:
                queues = queue.succeed(
                    session,
                    claim.key,
                    claim.attempt,
                    summary=ending.summary or {},
                    output=place,
                    log=self._log_tail() or "",
                    files=files,
                )
            self._clean_up()
            return queues
        message = ending.message
        last_word = next(iter(ending.last_words.splitlines()[-1:]), "")
        if ending.cause is Cause.INTERNAL and last_word not in message:
            message = f"{message}; last words: {last_word}"
        if ending.cause is Cause.INTERNAL:
            message += full_disk(self._worker.settings.work)
        with database.transaction() as session:
            return queue.fail(
                session,
                claim.key,
                claim.attempt,
                cause=ending.cause or Cause.INTERNAL,
                message=message,
                log=self._log_tail(),
                exit_code=ending.exit_code if ending.signal is None else -ending.signal,
            )

    def _clean_up(self) -> None:
        """Drop what only an unfinished stage needs."""
        shutil.rmtree(self._home, ignore_errors=True)
        self._state.discard()

    def _log_tail(self) -> str | None:
        try:
            with self._log.open("rb") as file:
                file.seek(max(0, self._log.stat().st_size - queue.LOG_BYTES))
                return file.read().decode(errors="replace")
        except FileNotFoundError:
            return None
