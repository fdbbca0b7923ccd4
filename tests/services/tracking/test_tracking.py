from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from sqlalchemy import select, update

from services.api_keys import LOCAL
from services.db.engine import Database
from services.db.tables import ExperimentRow, OutboxRow, SweepRow
from services.errors import Cause, Unavailable
from services.journal import outbox
from services.planning.submission import OfSweep
from services.queue import experiments
from services.stores.artifacts import ArtifactStore
from services.tracking import sender
from services.tracking.sender import Tracker
from tests.services.conftest import Decreed, decreed_summary, result, small_spec, submit
from tests.services.tracking.conftest import Server, failing, new_tracker, run_with_curves, tags_of

# The server loads for long where others compute: it lets them go first.
pytestmark = [pytest.mark.xdist_group("mlflow"), pytest.mark.timeout(600)]


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
    folder = client.get_experiment_by_name("twostream motion_shapes").experiment_id
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
    try:
        experiment_id = run_with_curves(database, store, tmp_path)
        with pytest.raises(Unavailable, match="MLflow at http://127"):
            tracker.drain()
    finally:
        server.start()
    tracker.drain()
    with database.transaction() as session:  # as if every answer had been lost: all of it is sent again
        session.execute(update(OutboxRow).values(delivered_at=None))
    tracker.drain()
    with database.transaction() as session:
        stages = experiments.stages(session, experiment_id)
    folder = client.get_experiment_by_name("twostream motion_shapes").experiment_id
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


@pytest.fixture
def poison(server: Server) -> Iterator[str]:
    """Name of a tag at which the server fails with 503, as with a broken index; every other it takes."""
    name = "twostream.poison"
    server.sql(f"CREATE TRIGGER poison BEFORE INSERT ON tags WHEN NEW.key = '{name}' BEGIN SELECT json(NEW.key); END")
    yield name.removeprefix("twostream.")
    server.sql("DROP TRIGGER IF EXISTS poison")


def tag(database: Database, experiment_id: str, name: str) -> None:
    with database.transaction() as session:
        data = {"tags": {name: "1"}}
        session.add(OutboxRow(experiment_id=experiment_id, kind="status", data=data))


def test_a_row_at_which_mlflow_fails_holds_up_its_own_run_alone(
    database: Database, tracker: Tracker, client: MlflowClient, server: Server, poison: str, store: ArtifactStore
) -> None:
    first, second = (submit(database, small_spec(name=name)).row.id for name in ("first", "second"))
    tag(database, first, poison)
    tag(database, second, "fine")
    tag(database, first, "after")
    tracker.drain()
    tracker.drain()
    assert "fine" in tags_of(database, client, second)
    assert not tags_of(database, client, first) & {poison, "after"}
    (row,) = failing(database)
    assert (row.failures, row.delivered_at) == (1, None), "it was held, not tried again at once"
    server.sql("DROP TRIGGER poison")
    new_tracker(server.url, database, store).drain()
    assert {poison, "after"} <= tags_of(database, client, first)
    assert failing(database) == []


def test_a_row_at_which_mlflow_goes_on_failing_is_set_aside_and_told(
    database: Database, client: MlflowClient, server: Server, poison: str, store: ArtifactStore, tracker: Tracker
) -> None:
    row = submit(database, small_spec()).row
    tag(database, row.id, poison)
    tag(database, row.id, "after")
    tracker.drain()
    with database.transaction() as session:  # as after all the pauses
        session.execute(update(OutboxRow).where(OutboxRow.failures == 1).values(failures=sender.GIVE_UP_FAILURES - 1))
    new_tracker(server.url, database, store).drain()
    assert "after" in tags_of(database, client, row.id)
    with database.transaction() as session:
        told = [entry for entry in experiments.events_after(session, row.id, 0, 100) if entry.type == "mlflow.refused"]
    assert [entry.data["kind"] for entry in told] == ["status"]
    assert failing(database)[0].delivered_at is not None


def test_children_wait_for_a_parent_that_is_held(
    database: Database, tracker: Tracker, client: MlflowClient, server: Server, store: ArtifactStore
) -> None:
    row = submit(database, small_spec(name="nobody takes me")).row
    worker = Decreed(database)
    worker.succeed(worker.claim("cpu"))  # type: ignore[arg-type]
    server.sql(
        "CREATE TRIGGER nobody BEFORE INSERT ON runs WHEN NEW.name = 'nobody takes me' BEGIN SELECT json(NEW.name); END"
    )
    tracker.drain()
    server.sql("DROP TRIGGER nobody")
    new_tracker(server.url, database, store).drain()
    with database.transaction() as session:
        index = experiments.stages(session, row.id)[0].row.mlflow_run_id
        parent = experiments.get(session, row.id).mlflow_run_id
    assert client.get_run(index).data.tags["mlflow.parentRunId"] == parent
    assert client.get_run(index).info.status == "FINISHED"


@pytest.mark.long  # `tests/system/` has a sweep with its runs as well
def test_trials_hang_below_one_run_of_their_sweep_that_ends_with_it(
    database: Database, tracker: Tracker, client: MlflowClient
) -> None:
    sweep = {"id": f"swp_{'0' * 20}", "name": "search"}
    with database.transaction() as session:
        session.add(SweepRow(**sweep, owner="local", dataset="motion_shapes", spec={}, base={}, body_digest="0" * 64))
    for trial in (0, 1, None):
        submit(database, small_spec(seeds=(trial or 7,)), sweep=OfSweep(sweep["id"], sweep["name"], trial))
    tracker.drain()
    with database.transaction() as session:
        found = session.scalars(select(ExperimentRow).where(ExperimentRow.sweep_id == sweep["id"]))
        rows = {row.trial: row for row in found}
        outbox.finish_sweep(session, rows[None].id, sweep, "succeeded", trials="2")
    tracker.drain()
    [parent] = {client.get_run(row.mlflow_run_id).data.tags["mlflow.parentRunId"] for row in rows.values()}
    run = client.get_run(parent)
    assert (run.info.run_name, run.info.status, run.data.tags["twostream.trials"]) == ("search", "FINISHED", "2")
    tags = {trial: client.get_run(row.mlflow_run_id).data.tags for trial, row in rows.items()}
    assert {trial: found["twostream.trial"] for trial, found in tags.items()} == {0: "0", 1: "1", None: "best"}
    assert {found["twostream.sweep"] for found in tags.values()} == {sweep["id"]}
