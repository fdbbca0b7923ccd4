from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from sqlalchemy import select, update

from cli.stack import ports
from cli.stack.mlflow import Mlflow
from cli.stack.process import Process
from services import experiments, outbox, queue
from services.api_keys import LOCAL
from services.artifacts import ArtifactStore
from services.claim import Claim
from services.db.engine import Database
from services.db.tables import OutboxRow
from services.errors import Cause, Unavailable
from services.queue import Fact
from services.tracking import Tracker
from tests.services.conftest import Decreed, decreed_summary, result, small_spec, submit


class Server:
    """A real MLflow server that can be stopped and started again at the same address."""

    def __init__(self, folder: Path) -> None:
        self.part = Mlflow(folder, ports.unused(), f"sqlite:///{folder}/store.db", dict(os.environ), folder / "log")
        self.part.prepare()
        self.start()

    def start(self) -> None:
        self.process = Process.start(self.part.command())
        self.process.wait_until(self.part.healthy, 120)

    def stop(self) -> None:
        self.process.stop()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("mlflow"))
    yield server
    server.stop()


@pytest.fixture
def client(server: Server) -> MlflowClient:
    return MlflowClient(server.part.url)


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(str(tmp_path / "store"), tmp_path / "cache")


@pytest.fixture
def tracker(server: Server, database: Database, store: ArtifactStore, monkeypatch: pytest.MonkeyPatch) -> Tracker:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    return Tracker(server.part.url, database, store)


def run_with_curves(database: Database, store: ArtifactStore, tmp_path: Path) -> str:
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
        (folder / "model.pt").write_bytes(b"weights")
        place = store.publish(folder, claim.key, claim.attempt)
        with database.transaction() as session:
            queue.record(session, claim.key, claim.attempt, facts)
        with database.transaction() as session:
            queue.succeed(session, claim.key, claim.attempt, summary={}, output=place, log="", files=["model.pt"])

    worker.run_all(end)
    return row.id


def test_parent_and_children_with_curves_results_and_artifacts(
    database: Database, store: ArtifactStore, tracker: Tracker, client: MlflowClient, tmp_path: Path
) -> None:
    experiment_id = run_with_curves(database, store, tmp_path)
    assert tracker.drain() > 0
    assert tracker.drain() == 0
    with database.transaction() as session:
        row = experiments.get(session, experiment_id)
        stages = experiments.stages(session, experiment_id)
    parent = client.get_run(row.mlflow_run_id)
    assert parent.info.status == "FINISHED"
    assert parent.data.params["model.kind"] == "ts_lstm"
    assert parent.data.metrics["rgb.top1.split_1"] == 0.5
    folder = client.get_experiment_by_name("twostream").experiment_id
    children = client.search_runs([folder], f"tags.mlflow.parentRunId = '{row.mlflow_run_id}'")
    assert {run.info.run_id for run in children} == {view.row.mlflow_run_id for view in stages}
    train = next(view.row for view in stages if view.row.kind == "train")
    run = client.get_run(train.mlflow_run_id)
    assert run.info.run_name == "train ts_lstm rgb, split 1, seed 0"
    assert run.data.tags["twostream.stream"] == "rgb"
    assert run.data.tags["twostream.attempt"] == "1"
    assert run.data.params["training.optimizer.learning_rate"] == "5e-05"
    points = client.get_metric_history(train.mlflow_run_id, "train_loss")
    assert [(point.step, point.value) for point in points] == [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3))]
    assert [file.path for file in client.list_artifacts(train.mlflow_run_id)] == ["model.pt"]


def test_a_server_that_was_away_hears_everything_once(
    database: Database, store: ArtifactStore, tracker: Tracker, client: MlflowClient, server: Server, tmp_path: Path
) -> None:
    server.stop()
    experiment_id = run_with_curves(database, store, tmp_path)
    with pytest.raises(Unavailable, match="MLflow at http://127"):
        tracker.drain()
    server.start()
    tracker.drain()
    with database.transaction() as session:  # as if every answer had been lost: all of it is sent again
        session.execute(update(OutboxRow).values(delivered_at=None))
    tracker.drain()
    with database.transaction() as session:
        stages = experiments.stages(session, experiment_id)
    folder = client.get_experiment_by_name("twostream").experiment_id
    for view in stages:
        found = client.search_runs([folder], f"tags.`twostream.id` = '{experiment_id}/{view.row.key}'")
        assert [run.info.run_id for run in found] == [view.row.mlflow_run_id]
    train = next(view.row for view in stages if view.row.kind == "train")
    points = client.get_metric_history(train.mlflow_run_id, "train_loss")
    assert [point.step for point in points] == [1, 2, 3]


def test_a_failure_and_a_retry_show_in_the_runs(database: Database, tracker: Tracker, client: MlflowClient) -> None:
    row = submit(database, small_spec()).row
    worker = Decreed(database)
    worker.fail(worker.claim("cpu"), Cause.DATA_ERROR, "no such clip")  # type: ignore[arg-type]
    tracker.drain()
    with database.transaction() as session:
        index = experiments.stages(session, row.id)[0].row
        parent = experiments.get(session, row.id).mlflow_run_id
    assert client.get_run(index.mlflow_run_id).info.status == "FAILED"
    assert client.get_run(parent).info.status == "FAILED"
    with database.transaction() as session:
        experiments.retry(session, row.id, LOCAL)
    claim = worker.claim("cpu")
    assert claim is not None
    tracker.drain()
    assert client.get_run(index.mlflow_run_id).info.status == "RUNNING"
    assert client.get_run(index.mlflow_run_id).data.tags["twostream.attempt"] == "2"
    worker.succeed(claim)
    worker.run_all(lambda claim: worker.succeed(claim, **decreed_summary(claim)))
    tracker.drain()
    assert client.get_run(parent).info.status == "FINISHED"


def test_a_message_that_is_refused_holds_up_nobody(
    database: Database, tracker: Tracker, client: MlflowClient, caplog: pytest.LogCaptureFixture
) -> None:
    row = submit(database, small_spec()).row
    with database.transaction() as session:
        outbox.add_results(session, row.id, {"no\nsuch*name": 1.0}, 0)
        outbox.add_results(session, row.id, {"rgb.top1.mean": result("rgb", 1, 0)["metrics"]["top1"]}, 0)
    for _ in range(6):
        tracker.drain()
    with database.transaction() as session:
        parent = experiments.get(session, row.id).mlflow_run_id
        refused = session.scalars(select(OutboxRow).where(OutboxRow.error.is_not(None))).all()
    assert client.get_run(parent).data.metrics == {"rgb.top1.mean": 0.5}
    assert [entry.name for entry in refused] == ["no\nsuch*name"]
    assert "refused" in caplog.text
