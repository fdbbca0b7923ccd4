"""A real MLflow server that can be stopped, broken and started again, and a tracker that sends to it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient
from sqlalchemy import select

from cli.stack import ports
from cli.stack.mlflow import Mlflow
from cli.stack.process import Process, StackError
from services.db.engine import Database
from services.db.tables import EventRow, OutboxRow
from services.errors import Unavailable
from services.journal import tracker_state
from services.queue import attempts, experiments
from services.queue.attempts import Fact
from services.queue.claim import Claim
from services.stores.artifacts import ArtifactStore
from services.stores.folder import FolderStore
from services.tracking.sender import Tracker
from tests.ports import reserved
from tests.services.conftest import Decreed, publish, small_spec, submit

START_SECONDS = 240


class Server:
    """A real MLflow server that can be stopped and started again at the same address."""

    def __init__(self, folder: Path, port: int) -> None:
        self.store = folder / "store.db"
        self.folder, self.port = folder, port

    def start(self) -> None:
        with ports.listen(ports.LOOPBACK, self.port) as listener:  # closed here, the port is the server's alone
            part = Mlflow(self.folder, listener, f"sqlite:///{self.store}", dict(os.environ), self.folder / "log")
            part.prepare()
            self.url = part.url
            self.process = Process.start(part.command())
            try:
                self.process.wait_until(part.healthy, START_SECONDS)
            except StackError:
                self.stop()
                raise

    def stop(self) -> None:
        self.process.stop()

    def sql(self, *statements: str) -> None:
        """Run statements on the server's own tables."""
        with closing(sqlite3.connect(self.store, timeout=30)) as connection, connection:
            for statement in statements:
                connection.execute(statement)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with reserved() as port:
        server = Server(tmp_path_factory.mktemp("mlflow"), port)
        server.start()
        yield server
        server.stop()


@pytest.fixture
def client(server: Server) -> MlflowClient:
    return MlflowClient(server.url)


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return FolderStore(tmp_path / "store")


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


@pytest.fixture
def tracker(server: Server, database: Database, store: ArtifactStore) -> Tracker:
    return new_tracker(server.url, database, store)


def new_tracker(url: str, database: Database, store: ArtifactStore) -> Tracker:
    """Return a tracker that lets who is held wait longer than any test."""
    return Tracker(url, database, store, first_hold_seconds=3600)


def run_with_curves(database: Database, store: ArtifactStore, tmp_path: Path, weights: bytes = b"weights") -> str:
    """Run an experiment; training reports three epochs and publishes a checkpoint."""
    row = submit(database, small_spec()).row
    worker = Decreed(database)

    def end(claim: Claim) -> None:
        if claim.kind != "train":
            worker.succeed(claim)
            return
        facts = [
            Fact("metrics", 1000 * epoch, {"step": epoch, "values": {"train_loss": 1 / epoch}}) for epoch in (1, 2, 3)
        ]
        folder = tmp_path / claim.key
        folder.mkdir()
        (folder / "model.pt").write_bytes(weights)
        place = publish(store, folder, claim.key, claim.attempt)
        with database.transaction() as session:
            attempts.record(session, claim.key, claim.attempt, facts)
        with database.transaction() as session:
            attempts.succeed(session, claim.key, claim.attempt, summary={}, output=place, log="", files=["model.pt"])

    worker.run_all(end)
    return row.id


def require_all(database: Database, client: MlflowClient, experiment_id: str) -> None:
    """Check that MLflow has all that an experiment of ``run_with_curves`` told: each run once, points in order."""
    with database.transaction() as session:
        parent = experiments.get(session, experiment_id).mlflow_run_id
        stages = [view.row for view in experiments.stages(session, experiment_id)]
        failures = list(session.scalars(select(OutboxRow.failures).where(OutboxRow.delivered_at.is_(None))))
    assert failures == [], "something waits"
    folder = client.get_run(parent).info.experiment_id
    for row in stages:
        found = client.search_runs([folder], f"tags.`twostream.id` = '{experiment_id}/{row.key}'")
        assert [run.info.run_id for run in found] == [row.mlflow_run_id]
        assert found[0].info.status == "FINISHED"
        assert found[0].data.tags["mlflow.parentRunId"] == parent
    (found,) = client.search_runs([folder], f"tags.`twostream.id` = '{experiment_id}'")
    assert (found.info.run_id, found.info.status) == (parent, "FINISHED")
    assert found.data.metrics["rgb.top1.split_1"] == 0.5
    train = next(row for row in stages if row.kind == "train")
    points = client.get_metric_history(train.mlflow_run_id, "train_loss")
    assert [(point.step, point.value) for point in points] == [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3))]
    assert [file.path for file in client.list_artifacts(train.mlflow_run_id)] == ["model.pt"]


def counted(database: Database) -> list[tuple[str, int]]:
    """Return kind and failures of each row against which a failure was counted."""
    with database.transaction() as session:
        query = select(OutboxRow.kind, OutboxRow.failures).where(OutboxRow.failures > 0)
        return [(kind, failures) for kind, failures in session.execute(query)]


def told(database: Database, type_: str) -> list[EventRow]:
    """Return the events of a type, in order."""
    with database.transaction() as session:
        return list(session.scalars(select(EventRow).where(EventRow.type == type_).order_by(EventRow.id)))


def require_held(database: Database, tracker: Tracker) -> None:
    """Check that each round of a tracker holds everything, counts nothing, and that it is said once."""
    before = len(told(database, "mlflow.held"))
    for _ in range(2):
        with pytest.raises(Unavailable, match="MLflow at http://127"):
            tracker.drain()
    assert counted(database) == []
    assert len(told(database, "mlflow.held")) == before + 1
    with database.transaction() as session:
        state = tracker_state.view(session)
    assert state.state == "held"
    assert "MLflow at http://127" in str(state.message)
    assert state.waiting > 0


def require_resumed(database: Database, client: MlflowClient, tracker: Tracker, experiment_id: str) -> None:
    """Check that everything arrives once nothing is wrong any more."""
    tracker.drain()
    require_all(database, client, experiment_id)
    assert counted(database) == []
    assert told(database, "mlflow.refused") == []
    assert len(told(database, "mlflow.resumed")) == 1
    with database.transaction() as session:
        state = tracker_state.view(session)
    assert (state.state, state.message, state.waiting, state.oldest_at) == ("ok", None, 0, None)
    assert state.last_success_at is not None


def tags_of(database: Database, client: MlflowClient, experiment_id: str) -> set[str]:
    with database.transaction() as session:
        run_id = experiments.get(session, experiment_id).mlflow_run_id
    return {name.removeprefix("twostream.") for name in client.get_run(run_id).data.tags}


def failing(database: Database) -> list[OutboxRow]:
    with database.transaction() as session:
        return list(session.scalars(select(OutboxRow).where(OutboxRow.error.is_not(None))))
