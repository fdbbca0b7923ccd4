"""The service: a real broker and database, housekeeping, and a worker process that can be killed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from sqlalchemy import select, text

from cli.stack import ports
from cli.stack.api import Api
from cli.stack.process import Process
from cli.stack.redis import Redis
from cli.stack.worker import CeleryWorker, WorkerOptions
from services.datasets.motion_shapes import MotionShapesParams
from services.db.engine import Database
from services.db.tables import AttemptRow, DatasetRow, EventRow, StageRow
from services.planning import submission
from services.queue import experiments
from services.queue.housekeeping import Housekeeper
from services.settings import Settings
from services.specs import ExperimentSpec
from services.stores.artifacts import open_store
from services.stores.broker import Broker
from tests.parts import running

DATASET = "few_shapes"
GENERATOR = MotionShapesParams(clips_per_group=1, size=32, min_frames=28, max_frames=30)
PATIENCE_SECONDS = 240
LEASE_SECONDS = 10
"""Long for a worker that lives, also on a machine that is busy, and short for a test that waits for its end."""


def training(epochs: int, **changes: Any) -> dict[str, Any]:
    """Settings of a training run that writes a checkpoint every third step."""
    optimizer = {"name": "sgd", "learning_rate": 0.01}
    return {"epochs": epochs, "batch_size": 16, "checkpoint_steps": 3, "optimizer": optimizer, **changes}


def spec(**changes: Any) -> ExperimentSpec:
    """One stream of one split, trained long enough to be interrupted."""
    values: dict[str, Any] = {
        "name": "system",
        "dataset": DATASET,
        "splits": [1],
        "streams": ["rgb"],
        "model": {"kind": "ts_lstm", "hidden": [16]},
        "backbone": {"name": "tiny", "finetune": training(6, samples_per_clip=2)},
        "training": training(20),
        "evaluation": {"frames": 9},
    }
    return ExperimentSpec.model_validate(values | changes)


class Service:
    """Everything, its parts real processes; the API runs for the tests that go through it."""

    def __init__(self, folder: Path, database_url: str, data: Path, port: int) -> None:
        self.folder = folder
        self.redis = Redis(folder / "redis", port, "test", folder / "redis.log")
        self.redis.prepare()
        self._redis = self._start_redis()
        self.settings = Settings(
            home=folder,
            database_url=database_url,
            redis_url=self.redis.url,
            data_root=data,
            lease_seconds=LEASE_SECONDS,
            heartbeat_seconds=0.5,
            sweep_seconds=0.2,
            grace_seconds=60,
        )
        self.database = Database(database_url)
        self.broker = Broker(self.redis.url)
        self.store = open_store(self.settings)
        self.add_dataset(DATASET, generator=GENERATOR.model_dump())
        self._housekeeper = Housekeeper(self.settings, self.database, self.broker)
        self._housekeeper.start()
        self.workers: list[Process] = []

    def _start_redis(self) -> Process:
        process = Process.start(self.redis.command())
        process.wait_until(self.redis.healthy, PATIENCE_SECONDS)
        return process

    def close(self) -> None:
        for worker in self.workers:
            worker.stop()
        self._housekeeper.stop()
        self._redis.stop()
        self.broker.close()
        self.database.close()

    def add_dataset(self, name: str, **values: Any) -> None:
        with self.database.transaction() as session:
            session.add(DatasetRow(name=name, **values))

    def forget(self) -> None:
        """Empty the result of every run, so that equal work is done anew."""
        with self.database.transaction() as session:
            session.execute(text("TRUNCATE experiment, stage, event, result, outbox CASCADE"))

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "TWOSTREAM_HOME": str(self.folder),
            "TWOSTREAM_DATA_ROOT": str(self.settings.data),
            "TWOSTREAM_DATABASE_URL": str(self.settings.database_url),
            "TWOSTREAM_REDIS_URL": str(self.settings.redis_url),
            "TWOSTREAM_LEASE_SECONDS": str(LEASE_SECONDS),
            "TWOSTREAM_HEARTBEAT_SECONDS": "0.5",
            "TWOSTREAM_GRACE_SECONDS": "60",
        }

    @contextmanager
    def api(self) -> Iterator[httpx.Client]:
        """Run the API as a process of its own and lend a client of it."""
        with ports.listen(ports.LOOPBACK, 0) as listener:
            part = Api(listener, self._environment(), self.folder / "api.log")
            with running(part), httpx.Client(base_url=part.url, timeout=PATIENCE_SECONDS) as client:
                yield client

    def start_worker(self, environment: Mapping[str, str] | None = None, **options: Any) -> Process:
        """Start a worker; ``environment`` has what differs on its host."""
        choice = WorkerOptions(**({"device": "cpu", "concurrency": 1} | options))
        log = self.folder / f"worker-{len(self.workers)}.log"
        part = CeleryWorker(choice, "", None, 75, {**self._environment(), **(environment or {})}, log)
        worker = Process.start(part.command())
        self.workers.append(worker)
        return worker

    def submit(self, wanted: ExperimentSpec) -> str:
        with self.database.transaction() as session:
            made = submission.submit(session, wanted, owner="local", body_digest="0" * 64)
        self.broker.ring(made.queues)
        return made.row.id

    def state(self, experiment_id: str) -> str:
        with self.database.transaction() as session:
            return experiments.get(session, experiment_id).state

    def wait_for(self, condition: Callable[[], bool], what: str, seconds: float = PATIENCE_SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                logs = "\n".join(worker.last_words() for worker in self.workers)
                pytest.fail(f"{what} did not happen in {seconds} s{logs}")
            time.sleep(0.05)

    def finish(self, experiment_id: str, state: str = "succeeded") -> None:
        ended = ("succeeded", "failed", "cancelled")
        self.wait_for(lambda: self.state(experiment_id) in ended, "the end of the experiment")
        with self.database.transaction() as session:
            row = experiments.get(session, experiment_id)
            assert row.state == state, row.message

    def wait_for_event(self, type_: str, kind: str, count: int = 1) -> None:
        """Wait for the events of a kind of stage."""
        query = select(EventRow.id).join(StageRow, StageRow.key == EventRow.stage_key)
        query = query.where(EventRow.type == f"stage.{type_}", StageRow.kind == kind)

        def happened() -> bool:
            with self.database.transaction() as session:
                return len(session.scalars(query).all()) >= count

        self.wait_for(happened, f"{count} x {type_} of {kind}")

    def attempts(self, kind: str) -> list[tuple[str, str | None]]:
        """Return state and cause of every attempt at the stages of a kind."""
        query = (
            select(AttemptRow.state, AttemptRow.cause)
            .join(StageRow, StageRow.key == AttemptRow.stage_key)
            .where(StageRow.kind == kind)
            .order_by(AttemptRow.stage_key, AttemptRow.number)
        )
        with self.database.transaction() as session:
            return [(state, cause) for state, cause in session.execute(query)]

    def output(self, experiment_id: str, kind: str) -> Path:
        """Return the published folder of the only stage of a kind."""
        with self.database.transaction() as session:
            views = experiments.stages(session, experiment_id)
            (row,) = [view.row for view in views if view.row.kind == kind]
        assert row.output is not None
        return self.store.fetch(row.output)


def rank_process(worker: Process) -> psutil.Process:
    """Return the only rank process below a worker: a child of one of its zygotes."""
    (rank,) = [rank for zygote in psutil.Process(worker.pid).children() for rank in zygote.children()]
    return rank


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


@contextmanager
def stopped(process: psutil.Process) -> Iterator[None]:
    """Hold a process still for a while."""
    process.suspend()
    try:
        yield
    finally:
        process.resume()


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of generated clips, made once."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def service(tmp_path: Path, database_url: str, data: Path, port: int) -> Iterator[Service]:
    service = Service(tmp_path, database_url, data, port)
    yield service
    service.close()
