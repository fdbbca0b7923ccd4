"""The whole service under test: `twostream up` with its worker, more workers on the same home, and a client."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
from sqlalchemy import text

from cli.stack.home import Home
from cli.stack.process import Command, Process
from services.datasets.motion_shapes import MotionShapesParams
from services.db.engine import Database
from services.db.tables import DatasetRow
from services.errors import Unavailable
from services.stores.broker import Broker
from tests.cli.stacks import Up, gone, until

PARTS = ("postgres", "redis", "api", "worker", "mlflow")
LEASE_SECONDS = 10.0
SWEEP_SECONDS = 0.2
"""The lease is long for a worker that lives, also on a busy machine, and short for a test that waits for its end."""
GENERATOR = MotionShapesParams(clips_per_group=1, size=32, min_frames=28, max_frames=30)
PATIENCE_SECONDS = 600.0
"""Longer than anything takes here, on a machine that is busy with other things."""
SETTINGS = {
    "TWOSTREAM_LEASE_SECONDS": str(LEASE_SECONDS),
    "TWOSTREAM_HEARTBEAT_SECONDS": "0.5",
    "TWOSTREAM_SWEEP_SECONDS": str(SWEEP_SECONDS),
    "TWOSTREAM_GRACE_SECONDS": "60",
}
MADE_PROGRESS = ("stage.running", "stage.checkpoint", "stage.metrics", "stage.succeeded", "experiment.succeeded")
ENDED = ("succeeded", "failed", "cancelled")


def training(epochs: int, **changes: Any) -> dict[str, Any]:
    """Settings of a training run that writes a checkpoint every third step."""
    optimizer = {"name": "sgd", "learning_rate": 0.01}
    return {"epochs": epochs, "batch_size": 16, "checkpoint_steps": 3, "optimizer": optimizer, **changes}


def work(dataset: str, **changes: Any) -> dict[str, Any]:
    """The body of an experiment whose two trainings last long enough to be disturbed."""
    return {
        "name": dataset,
        "dataset": dataset,
        "splits": [1],
        "streams": ["rgb"],
        "model": {"kind": "ts_lstm", "hidden": [16]},
        "backbone": {"name": "tiny", "finetune": training(6, samples_per_clip=2)},
        "training": training(60),
        "evaluation": {"frames": 9},
        **changes,
    }


SMALL: dict[str, Any] = {"backbone": {"name": "tiny", "finetune": None}, "training": training(1)}
"""What makes that work short."""


class Fleet:
    """The stack, its workers, and what a test asks of them.

    Args:
        home: an empty folder that every user can reach.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self._others: list[Process] = []
        self._spare = iter(range(1000))
        self.up = Up(Home(home), SETTINGS, ("--device", "cpu", "--concurrency", "1"))
        try:
            self.up.wait_ready(*PARTS[:-1])  # MLflow is slow to start where others work, and nobody waits for it
            addresses = self.up.state.addresses
            self.database = Database(addresses["database"])
            self.broker = Broker(addresses["redis"])
            self.client = httpx.Client(base_url=addresses["api"], timeout=PATIENCE_SECONDS)
        except BaseException:
            self.up.stop()
            raise

    def close(self) -> None:
        """Stop everything."""
        for worker in self._others:
            worker.stop()
        self.client.close()
        self.broker.close()
        self.database.close()
        if self.up.process.poll() is None:
            self.up.stop()

    # Workers

    def add_worker(self, **environment: str) -> Process:
        """Start `twostream worker` on the same home, and wait until it reports for work."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("TWOSTREAM_")}
        worker = Process.start(
            Command(
                "worker",
                (str(Path(sys.executable).with_name("twostream")), "worker", "--device", "cpu", "--concurrency", "1"),
                self.home / "logs" / f"worker-{next(self._spare)}.log",
                {**clean, **SETTINGS, "TWOSTREAM_HOME": str(self.home), **environment},
                grace_seconds=75,
            )
        )
        self._others.append(worker)
        self.wait(lambda: worker.pid in self.workers("alive"), "another worker")
        return worker

    def workers(self, *states: str) -> dict[int, str]:
        """Return the ids of the workers in some states, by the pid of their process."""
        return {
            row.pid: row.id for row in self.rows("SELECT id, pid FROM worker WHERE state = ANY(:s)", s=list(states))
        }

    def stop_worker(self, worker: Process) -> None:
        """Stop a worker that a test has added."""
        self._others.remove(worker)
        worker.stop()

    def writers(self) -> list[psutil.Process]:
        """Return the processes of all workers and of their stages."""
        workers = [psutil.Process(pid) for pid in self.workers("alive")]
        return [process for worker in workers for process in [worker, *worker.children(recursive=True)]]

    def ranks(self, key: str) -> list[psutil.Process]:
        """Return the processes of a stage."""
        return [process for process in self.writers() if f"/{key}/" in output_of(process)]

    def make_whole(self, workers: int = 2) -> None:
        """Wait until every part answers and as many workers work; of the test's own the dead are started again."""
        self.wait(self._parts_run, "every part started again")
        self.wait(lambda: set(PARTS) <= set(self.up.state.ready), "every part answers")
        dead = [worker for worker in self._others if not worker.running()]
        for worker in dead:
            worker.stop()
            self._others.remove(worker)
        while len(self._others) < workers - 1:
            self.add_worker()
        for worker in self._others[workers - 1 :]:
            self.stop_worker(worker)
        self.wait(lambda: len(self.workers("alive")) == workers, f"{workers} workers")

    def _parts_run(self) -> bool:
        """Tell whether no part has ended unnoticed: the stack looks at them now and then."""
        return all((part := self.find_part(name)) is not None and not gone(part) for name in PARTS)

    def part(self, name: str) -> psutil.Process:
        """Return the present process of a part."""
        found = self.find_part(name)
        assert found is not None, f"{name} does not run"
        return found

    def find_part(self, name: str) -> psutil.Process | None:
        """Return the present process of a part, if it has one."""
        pids = {child.name: child.pid for child in self.up.state.children}
        try:
            return psutil.Process(pids[name])
        except (KeyError, psutil.NoSuchProcess):
            return None

    # Postgres

    def rows(self, query: str, **values: Any) -> list[Any]:
        """Ask Postgres, again as long as it is away."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                with self.database.transaction() as session:
                    result = session.execute(text(query), values)
                    return list(result) if result.returns_rows else []
            except Unavailable:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    @contextmanager
    def mlflow(self) -> Iterator[Callable[..., list[Any]]]:
        """Lend a function that asks the database of MLflow."""
        database = Database(f"{self.up.state.addresses['database'].rpartition('/')[0]}/mlflow")
        try:
            with database.transaction() as session:
                yield lambda query, **values: list(session.execute(text(query), values))
        finally:
            database.close()

    def wait(self, true: Callable[[], Any], what: str) -> None:
        """Wait until something holds."""
        until(true, what, PATIENCE_SECONDS, details=self.tell)

    def tell(self) -> str:
        """Return what helps to understand why something did not happen."""
        stages = self.rows(
            "SELECT label, state, attempt, worker_id, message FROM stage WHERE state IN ('waiting', 'ready', 'running')"
        )
        return "\n".join([self.up.tell(), *(str(row) for row in stages), str(self.rows("SELECT * FROM worker"))])

    # Experiments

    def add_dataset(self, name: str) -> None:
        """Register the clips of all tests under another name: the same work anew, by other keys."""
        with self.database.transaction() as session:
            session.merge(DatasetRow(name=name, generator=GENERATOR.model_dump(), splits=[1]))

    def submit(self, body: Mapping[str, Any]) -> Run:
        """Submit an experiment through the API."""
        answer = self.client.post("/experiments", json=body)
        assert answer.status_code == 202, answer.text
        return Run(self, answer.json()["id"])

    def begin(self, name: str, **changes: Any) -> Run:
        """Submit the work of a test on a dataset of its own."""
        self.add_dataset(name)
        return self.submit(work(name, **changes))


@dataclass(frozen=True)
class Attempt:
    """One that runs: its stage, number and worker."""

    key: str
    number: int
    worker: psutil.Process

    @property
    def rank(self) -> psutil.Process:
        """The process that computes: the only child of one of the worker's zygotes."""
        return next(rank for zygote in self.worker.children() for rank in zygote.children())


@dataclass(frozen=True)
class Run:
    """One experiment."""

    fleet: Fleet
    id: str

    @property
    def state(self) -> str:
        """The state of the experiment."""
        return str(self.fleet.rows("SELECT state FROM experiment WHERE id = :id", id=self.id)[0].state)

    def key(self, kind: str) -> str:
        """Return the key of its only stage of a kind."""
        query = (
            "SELECT key FROM stage JOIN experiment_stage ON key = stage_key WHERE experiment_id = :id AND kind = :kind"
        )
        (row,) = self.fleet.rows(query, id=self.id, kind=kind)
        return str(row.key)

    def running(self, kind: str, checkpoints: int = 1) -> Attempt:
        """Wait until its stage of a kind has written checkpoints and runs, and return the attempt."""
        key = self.key(kind)
        query = """
            SELECT stage.attempt, worker.pid FROM stage JOIN worker ON worker.id = worker_id
            WHERE key = :key AND stage.state = 'running' AND :most <= (
                SELECT count(*) FROM event
                WHERE stage_key = key AND type = 'stage.checkpoint' AND event.attempt = stage.attempt)
        """
        found: list[Any] = []

        def runs() -> bool:
            found[:] = self.fleet.rows(query, key=key, most=checkpoints)
            return bool(found)

        self.fleet.wait(runs, f"checkpoint {checkpoints} of {kind}")
        return Attempt(key, found[0].attempt, psutil.Process(found[0].pid))

    def attempts(self, kind: str) -> list[tuple[str, str | None]]:
        """Return state and cause of every attempt at its stage of a kind."""
        query = "SELECT state, cause FROM attempt WHERE stage_key = :key ORDER BY number"
        return [(row.state, row.cause) for row in self.fleet.rows(query, key=self.key(kind))]

    def is_taken_over(self, attempt: Attempt) -> None:
        """Wait until an attempt has lost its lease and another worker runs its stage, or has run it."""
        query = (
            "SELECT worker_id, state, cause FROM attempt WHERE stage_key = :key AND number >= :number ORDER BY number"
        )

        def taken() -> bool:
            first, *later = self.fleet.rows(query, key=attempt.key, number=attempt.number)
            return bool(later) and first.cause == "worker_lost" and later[0].worker_id != first.worker_id

        self.fleet.wait(taken, "another worker takes over")

    def last_event(self) -> int:
        """Return the number of its last event that shows work."""
        query = """
            SELECT coalesce(max(id), 0) AS last FROM event WHERE type = ANY(:types) AND (experiment_id = :id
                OR stage_key IN (SELECT stage_key FROM experiment_stage WHERE experiment_id = :id))
        """
        return int(self.fleet.rows(query, id=self.id, types=list(MADE_PROGRESS))[0].last)

    def goes_on_after(self, event: int) -> bool:
        """Tell whether work has been shown since an event, or there is none left."""
        return self.last_event() > event or self.state in ENDED

    def finish(self, state: str = "succeeded") -> None:
        """Wait for its end, which must be this one."""
        self.fleet.wait(lambda: self.state in ENDED, "the end of the experiment")
        query = "SELECT state, cause, message FROM experiment WHERE id = :id"
        (row,) = self.fleet.rows(query, id=self.id)
        assert row.state == state, (row.state, row.cause, row.message)


def output_of(process: psutil.Process) -> str:
    """Return the path of the file that gets a process's standard output, or nothing if it is gone or not ours."""
    with contextlib.suppress(OSError):
        return str(Path(f"/proc/{process.pid}/fd/1").readlink())
    return ""


@contextmanager
def stopped(process: psutil.Process) -> Iterator[None]:
    """Hold a process still for a while."""
    process.suspend()
    try:
        yield
    finally:
        if not gone(process):
            process.resume()
