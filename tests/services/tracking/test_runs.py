"""What a run in MLflow says: when it began and ended, what it is of, what it reached; and that there is one of each."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run, ViewType
from sqlalchemy import select, update

from services.api_keys import LOCAL
from services.db.engine import Database
from services.db.tables import AttemptRow, ExperimentRow, OutboxRow, PaperRow
from services.errors import Cause
from services.journal import outbox, tracker_state
from services.queue import attempts, experiments
from services.queue.attempts import Fact
from services.queue.claim import Claim
from services.stores.artifacts import ArtifactStore
from services.tracking.addresses import COLUMNS, VIEW, artifacts_page, run_page, runs_page
from services.tracking.mlflow_server import EXPERIMENT_NAME, OF_ALL, OURS_TAG, folder_name
from services.tracking.sender import Tracker
from services.tracking.use import PREFIX
from tests.services.conftest import Decreed, result, small_spec, submit
from tests.services.packed import answered
from tests.services.tracking.conftest import Server, new_tracker
from tests.services.tracking.relay import Request, relay

# The server loads for long where others compute: it lets them go first.
pytestmark = [pytest.mark.xdist_group("mlflow"), pytest.mark.timeout(600)]
CLASSES = ("Jump", "Run", "Walk")
SCORED = {"clips": 4, "correct": 3, "top1": 0.75, "train_top1": 1.0, "weights_known": True}


def finished(database: Database, **changes: object) -> str:
    """Run an experiment whose clips are known one by one, and which trains for two epochs."""
    row = submit(database, small_spec(**changes)).row
    worker = Decreed(database)

    def end(claim: Claim) -> None:
        if claim.kind == "train":
            facts = [Fact("metrics", step, {"step": step, "values": {"train_loss": 1 / step}}) for step in (1, 2)]
            with database.transaction() as session:
                attempts.record(session, claim.key, claim.attempt, facts)
        if claim.kind == "fuse":
            entry = result("rgb", claim.params["split"], claim.params["seed"], 0.75, 4)
            worker.succeed(claim, **answered(entry, CLASSES, (0, 1, 2, 2), (0, 1, 2, 1)))
        else:
            worker.succeed(claim, **(SCORED if claim.kind == "score" else {}))

    worker.run_all(end)
    return row.id


def runs_of(database: Database, client: MlflowClient, experiment_id: str) -> dict[str, Run]:
    """Return the runs of an experiment, ``experiment`` and one for each kind of stage."""
    with database.transaction() as session:
        ids = {view.row.kind: view.row.mlflow_run_id for view in experiments.stages(session, experiment_id)}
        ids["experiment"] = experiments.get(session, experiment_id).mlflow_run_id
    return {kind: client.get_run(run_id) for kind, run_id in ids.items()}


def test_runs_begin_and_end_when_what_they_stand_for_did(
    database: Database, tracker: Tracker, client: MlflowClient
) -> None:
    experiment_id = finished(database)
    with database.transaction() as session:  # MLflow hears of it a day later
        session.execute(update(OutboxRow).values(created_at=OutboxRow.created_at - timedelta(days=1)))
    tracker.drain()
    with database.transaction() as session:
        rows = list(session.scalars(select(OutboxRow)))
        stages = {view.row.key: view.row for view in experiments.stages(session, experiment_id)}
    found = runs_of(database, client, experiment_id)
    for row in rows:
        run = found["experiment" if row.stage_key is None else stages[row.stage_key].kind]
        if row.kind == "open":
            assert run.info.start_time == int(row.created_at.timestamp() * 1000)
        if row.data.get("status") == "FINISHED":
            assert run.info.end_time == int(row.created_at.timestamp() * 1000)
    for row in stages.values():
        times = found[row.kind].info.start_time, found[row.kind].info.end_time
        assert row.started_at is not None
        assert row.finished_at is not None
        for time, written in zip(times, (row.started_at, row.finished_at), strict=True):
            assert abs(time / 1000 + 86400 - written.timestamp()) < 1, "of one transaction"
    whole = found["experiment"].info
    assert all(whole.start_time <= run.info.start_time <= run.info.end_time <= whole.end_time for run in found.values())


def test_runs_say_what_they_are_of_and_what_they_reached(
    database: Database, tracker: Tracker, client: MlflowClient, tmp_path: Path
) -> None:
    experiment_id = finished(database)
    place = {"paper": "ts_lstm", "table_name": "3", "row": "TS-LSTM", "dataset": "ucf101", "part": 0, "system": "x"}
    with database.transaction() as session:
        session.add(PaperRow(experiment_id=experiment_id, **place))
        row = experiments.get(session, experiment_id)
        row.flags = [{"code": "weights_unknown"}]
    tracker.drain()
    found = runs_of(database, client, experiment_id)
    for kind, run in found.items():
        tags = {name: run.data.tags[f"twostream.{name}"] for name in ("paper", "table", "row", "dataset", "flags")}
        assert tags == {
            "paper": "ts_lstm",
            "table": "3",
            "row": "TS-LSTM",
            "dataset": "motion_shapes",
            "flags": "weights_unknown",
        }, kind
        assert run.data.tags["twostream.model"] == "ts_lstm", kind
        assert run.data.tags["twostream.protocol"], kind
    assert {"stream": "rgb", "split": "1", "kind": "experiment"}.items() <= {
        name.removeprefix("twostream."): value for name, value in found["experiment"].data.tags.items()
    }.items()
    assert found["score"].data.metrics == {"clips": 4.0, "correct": 3.0, "top1": 0.75, "train_top1": 1.0}
    assert found["fuse"].data.metrics["top1"] == found["fuse"].data.metrics["rgb.top1"] == 0.75
    deciding = {name: found["experiment"].data.metrics[name] for name in ("top1", "top5", "mean_class")}
    assert deciding == {"top1": 0.75, "top5": 1.0, "mean_class": 0.75}
    parent = found["experiment"].info.run_id
    assert [file.path for file in client.list_artifacts(parent)] == ["confusion.png", "learning.png", "results.json"]
    for name in ("confusion.png", "learning.png"):
        assert Path(client.download_artifacts(parent, name, str(tmp_path))).read_bytes().startswith(b"\x89PNG")
    told = json.loads(Path(client.download_artifacts(parent, "results.json", str(tmp_path))).read_text())
    assert {(each["stream"], each["split"], each["seed"]) for each in told} == {
        ("rgb", 1, 0),
        ("rgb", 1, None),
        ("rgb", None, None),
    }
    assert told[0]["metrics"]["top1"]["value"] == 0.75
    with database.transaction() as session:
        session.add(PaperRow(experiment_id=experiment_id, **(place | {"table_name": "4"})))
        session.flush()
        outbox.tag_papers(session, experiment_id)
    tracker.drain()
    assert client.get_run(parent).data.tags["twostream.table"] == "3; 4"


def test_a_run_has_loss_and_accuracy_of_validation_at_each_epoch(
    database: Database, tracker: Tracker, client: MlflowClient
) -> None:
    """Its steps are epochs from 1, told once though an epoch is reported by two attempts."""
    experiment_id = submit(database, small_spec(training={"epochs": 3, "validate": True})).row.id
    worker = Decreed(database)
    curves = {
        name: [scale / epoch for epoch in (1, 2, 3)]
        for scale, name in enumerate(("train_loss", "train_accuracy", "validation_loss", "validation_accuracy"), 1)
    }

    def end(claim: Claim) -> None:
        if claim.kind == "train":
            for epochs in ((1, 2), (2, 3)):
                facts = [
                    Fact(
                        "metrics", at, {"step": at, "values": {name: values[at - 1] for name, values in curves.items()}}
                    )
                    for at in epochs
                ]
                with database.transaction() as session:
                    attempts.record(session, claim.key, claim.attempt, facts)
                tracker.drain()
        worker.succeed(claim)

    worker.run_all(end)
    tracker.drain()
    run = runs_of(database, client, experiment_id)["train"]
    told = {
        name: sorted((point.step, point.value) for point in client.get_metric_history(run.info.run_id, name))
        for name in curves
    }
    assert told == {name: list(enumerate(values, 1)) for name, values in curves.items()}


def test_a_run_has_what_its_stage_used_of_its_machine_as_system_metrics(
    database: Database, tracker: Tracker, client: MlflowClient
) -> None:
    """Those of all attempts, each once, under the names that MLflow's own monitor gives them."""
    experiment_id = submit(database, small_spec()).row.id
    worker = Decreed(database)
    first = {"spacing": 2.0, "cpu": [0.5, None, 1.5], "memory_bytes": [100, 200, 300]}
    second = {"spacing": 1.0, "cpu": [2.0], "gpu": [0.25], "gpu_memory_bytes": [1000]}

    def end(claim: Claim) -> None:
        if claim.kind == "train":
            with database.transaction() as session:
                attempt = session.get_one(AttemptRow, (claim.key, claim.attempt))
                attempt.curves, attempt.gpus = (first, 0) if claim.attempt == 1 else (second, 1)
        if claim.kind == "train" and claim.attempt == 1:
            worker.fail(claim, Cause.DATA_ERROR)
        else:
            worker.succeed(claim)

    worker.run_all(end)
    tracker.drain()
    with database.transaction() as session:
        experiments.retry(session, experiment_id, LOCAL)
    worker.run_all(end)
    tracker.drain()
    run = runs_of(database, client, experiment_id)["train"]
    told = {name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
    mebibyte = 2**20 / 1e6
    assert {name: sorted(point.value for point in points) for name, points in told.items()} == {
        "system/cpu_utilization_percentage": [50.0, 150.0, 200.0],
        "system/system_memory_usage_megabytes": pytest.approx([100 * mebibyte, 200 * mebibyte, 300 * mebibyte]),
        "system/gpu_0_utilization_percentage": [25.0],
        "system/gpu_0_memory_usage_megabytes": pytest.approx([1000 * mebibyte]),
    }
    memory = told["system/system_memory_usage_megabytes"]
    assert [point.step for point in memory] == [0, 2, 4]
    assert [point.timestamp - memory[0].timestamp for point in memory] == [0, 2000, 4000]
    with database.transaction() as session:
        began = session.get_one(AttemptRow, (run.data.tags["twostream.id"].partition("/")[2], 1)).started_at
    assert memory[0].timestamp == int(1000 * began.timestamp())


def test_what_was_not_kept_of_each_clip_draws_no_picture_and_holds_nothing_up(
    database: Database, tracker: Tracker, client: MlflowClient
) -> None:
    row = submit(database, small_spec()).row
    Decreed(database).run_all()
    tracker.drain()
    run = runs_of(database, client, row.id)["experiment"]
    assert run.info.status == "FINISHED"
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["results.json"]


def test_each_dataset_has_an_experiment_and_runs_of_before_stay_where_they_are(
    database: Database, client: MlflowClient, server: Server, store: ArtifactStore
) -> None:
    before = client.create_experiment(EXPERIMENT_NAME, tags={OURS_TAG: OF_ALL})
    row = submit(database, small_spec(name="of before")).row
    parent = client.create_run(before, tags={"twostream.id": row.id}).info.run_id
    with database.transaction() as session:
        tracker_state.remember_folder(session, "", before)
        session.execute(update(ExperimentRow).values(mlflow_run_id=parent, mlflow_folder_id=before))
        session.execute(update(OutboxRow).where(OutboxRow.kind == "open").values(delivered_at=OutboxRow.created_at))
    try:
        Decreed(database).run_all()
        later = finished(database, name="of now", seeds=(1,))
        new_tracker(server.url, database, store).drain()
        of_before, of_now = (runs_of(database, client, id_) for id_ in (row.id, later))
        assert {run.info.experiment_id for run in of_before.values()} == {before}
        assert of_before["experiment"].info.status == "FINISHED"
        folder = client.get_experiment_by_name(folder_name("motion_shapes"))
        assert of_now["experiment"].info.experiment_id == folder.experiment_id
        assert folder.tags[OURS_TAG] == "motion_shapes"
        assert folder.tags["mlflow.experimentKind"] == "custom_model_development"
        view = json.loads(folder.tags[f"mlflow.sharedViewState.{VIEW}"])
        assert view["selectedColumns"] == [*COLUMNS]
    finally:
        client.delete_experiment(before)
        server.sql(f"UPDATE experiments SET name = 'gone' WHERE experiment_id = {before}")


def test_the_pages_that_addresses_open_are_those_of_this_mlflow() -> None:
    pages = Path(mlflow.__file__).parent / "server" / "js" / "build" / "static" / "js"
    code = "".join(page.read_text() for page in pages.glob("main*.js"))
    for word in (
        "workflowType",
        "machine_learning",
        "viewStateShareKey",
        "mlflow.sharedViewState.",
        "selectedColumns",
        f'"{PREFIX}"',
    ):
        assert word in code, word
    assert (
        runs_page("http://x/", "7")
        == "http://x/#/experiments/7/runs?workflowType=machine_learning&viewStateShareKey=twostream"
    )
    assert run_page("http://x", "7", "r").startswith("http://x/#/experiments/7/runs/r?")
    assert artifacts_page("http://x/", "7", "r").startswith("http://x/#/experiments/7/runs/r/artifacts?")


@pytest.mark.parametrize(
    "heard",
    [
        pytest.param(True, marks=pytest.mark.long, id="the answer is lost"),
        pytest.param(False, id="the server hears of it much later"),
    ],
)
def test_a_run_whose_making_was_not_answered_is_there_once(
    database: Database, client: MlflowClient, server: Server, store: ArtifactStore, heard: bool
) -> None:
    def makes_a_run(request: Request) -> bool:
        return request.path.endswith("/runs/create") and b'"probe"' not in request.body

    with relay(server.port, makes_a_run, heard=heard) as door:
        experiment_id = submit(database, small_spec()).row.id
        tracker = new_tracker(door.url, database, store)
        tracker.drain()
        if not heard:
            door.deliver()
        Decreed(database).run_all()
        tracker.drain()
    with database.transaction() as session:
        row = experiments.get(session, experiment_id)
    every, living = (
        client.search_runs([row.mlflow_folder_id], f"tags.`twostream.id` = '{row.id}'", view)
        for view in (ViewType.ALL, ViewType.ACTIVE_ONLY)
    )
    assert len(every) == (1 if heard else 2)
    assert [(run.info.run_id, run.info.status) for run in living] == [(row.mlflow_run_id, "FINISHED")]
