"""Whose fault is it: what is MLflow's as a whole holds everything, counts against no row, and loses nothing."""

from __future__ import annotations

import resource
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient

from services.db.engine import Database
from services.db.tables import OutboxRow
from services.journal import outbox, tracker_state
from services.queue import experiments
from services.stores.artifacts import ArtifactStore
from services.tracking.mlflow_server import folder_name
from services.tracking.sender import Tracker
from tests.services.conftest import small_spec, submit
from tests.services.tracking.conftest import (
    Server,
    counted,
    new_tracker,
    require_all,
    require_held,
    require_resumed,
    run_with_curves,
    told,
)

pytestmark = [pytest.mark.xdist_group("mlflow"), pytest.mark.timeout(600)]
FOLDER = folder_name("motion_shapes")
TABLES = ("tags", "params", "metrics", "latest_metrics", "runs", "experiment_tags")


BROKEN = {
    "read-only": (
        [
            f"CREATE TRIGGER ro_{table} BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'read-only'); END"
            for table in TABLES
        ],
        [f"DROP TRIGGER ro_{table}" for table in TABLES],
    ),
    "a table is missing": (["ALTER TABLE metrics RENAME TO m"], ["ALTER TABLE m RENAME TO metrics"]),
    "a column is missing": (
        ["ALTER TABLE runs RENAME COLUMN deleted_time TO dt"],
        ["ALTER TABLE runs RENAME COLUMN dt TO deleted_time"],
    ),
    "no run can be made": (
        ["CREATE TRIGGER none BEFORE INSERT ON runs BEGIN SELECT json('x'); END"],
        ["DROP TRIGGER none"],
    ),
    "no run can be closed": (
        ["CREATE TRIGGER open BEFORE UPDATE ON runs BEGIN SELECT json('x'); END"],
        ["DROP TRIGGER open"],
    ),
}
"""Statements that break a store for everybody, and those that mend it."""
QUICK = ("read-only", "no run can be closed")
"""Faults of which every run of the tests tries one: at the first row that is sent, and at a later one."""
LONG = pytest.mark.long


@pytest.mark.parametrize("fault", [each if each in QUICK else pytest.param(each, marks=LONG) for each in BROKEN])
def test_a_store_that_is_broken_for_all_holds_everything_and_loses_nothing(
    database: Database,
    tracker: Tracker,
    client: MlflowClient,
    server: Server,
    store: ArtifactStore,
    tmp_path: Path,
    fault: str,
) -> None:
    tracker.drain()
    first = run_with_curves(database, store, tmp_path)
    breaks, mends = BROKEN[fault]
    server.sql(*breaks)
    try:
        require_held(database, tracker)
    finally:
        server.sql(*mends)
    require_resumed(database, client, tracker, first)


def test_a_folder_of_artifacts_that_takes_nothing_holds_everything(
    database: Database, tracker: Tracker, client: MlflowClient, server: Server, store: ArtifactStore, tmp_path: Path
) -> None:
    experiment_id = run_with_curves(database, store, tmp_path)
    folder = client.get_experiment_by_name(FOLDER) or client.get_experiment(client.create_experiment(FOLDER))
    place = server.folder / folder.artifact_location.removeprefix("mlflow-artifacts:/")
    moved = place.with_name("moved")
    if place.exists():
        place.rename(moved)
    place.touch()
    try:
        require_held(database, tracker)
    finally:
        place.unlink()
        if moved.exists():
            moved.rename(place)
    require_resumed(database, client, tracker, experiment_id)


@LONG
def test_a_disk_that_has_no_room_for_a_file_counts_against_no_row(
    database: Database, client: MlflowClient, server: Server, store: ArtifactStore, tmp_path: Path
) -> None:
    large = 64 * 1024 * 1024
    experiment_id = run_with_curves(database, store, tmp_path, bytes(large))
    process = psutil.Process(server.process.pid)
    process.rlimit(resource.RLIMIT_FSIZE, (large // 2, resource.RLIM_INFINITY))
    try:
        for _ in range(2):
            new_tracker(server.url, database, store).drain()
    finally:
        process.rlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert counted(database) == []
    with database.transaction() as session:
        assert tracker_state.view(session).waiting == 2, "the file, and the end of its run"
    new_tracker(server.url, database, store).drain()
    require_all(database, client, experiment_id)


@pytest.mark.parametrize("renamed", [pytest.param(False, marks=LONG), True])
def test_an_experiment_that_somebody_deletes_is_restored_and_told_once(
    database: Database, tracker: Tracker, client: MlflowClient, store: ArtifactStore, tmp_path: Path, renamed: bool
) -> None:
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    first = run_with_curves(database, store, tmp_path / "first")
    tracker.drain()
    folder = client.get_experiment_by_name(FOLDER)
    if renamed:
        client.rename_experiment(folder.experiment_id, "renamed")
    client.delete_experiment(folder.experiment_id)
    second = submit(database, small_spec(name="second", seeds=(1,))).row.id
    try:
        tracker.drain()
        require_all(database, client, first)
        with database.transaction() as session:
            run = client.get_run(experiments.get(session, second).mlflow_run_id)
        assert run.info.experiment_id == folder.experiment_id
        assert client.get_experiment(folder.experiment_id).lifecycle_stage == "active"
        (event,) = told(database, "mlflow.restored")
        assert event.data == {"folder": folder.experiment_id}
        assert counted(database) == []
    finally:
        if renamed:
            client.rename_experiment(folder.experiment_id, FOLDER)


@pytest.mark.long  # a run that is gone is made anew below
def test_an_experiment_that_is_gone_for_good_is_made_anew_with_all_that_it_had(
    database: Database, tracker: Tracker, client: MlflowClient, server: Server, store: ArtifactStore, tmp_path: Path
) -> None:
    experiment_id = run_with_curves(database, store, tmp_path)
    tracker.drain()
    gone = client.get_experiment_by_name(FOLDER).experiment_id
    client.create_experiment("the next to get its number")
    with_runs = f"run_uuid IN (SELECT run_uuid FROM runs WHERE experiment_id = {gone})"
    server.sql(
        *(f"DELETE FROM {table} WHERE {with_runs}" for table in ("tags", "params", "metrics", "latest_metrics")),
        f"DELETE FROM runs WHERE experiment_id = {gone}",
        f"DELETE FROM experiment_tags WHERE experiment_id = {gone}",
        f"DELETE FROM experiments WHERE experiment_id = {gone}",
    )
    second = submit(database, small_spec(name="second")).row.id
    tracker.drain()
    require_all(database, client, experiment_id)
    with database.transaction() as session:
        run = client.get_run(experiments.get(session, second).mlflow_run_id)
    assert run.info.experiment_id != gone
    assert len(told(database, "mlflow.recreated")) == 1
    assert counted(database) == []


def runs_of(database: Database, experiment_id: str) -> tuple[str, str]:
    """Return the runs of an experiment and of its training."""
    with database.transaction() as session:
        stages = [view.row for view in experiments.stages(session, experiment_id)]
        train = next(row.mlflow_run_id for row in stages if row.kind == "train")
        return str(experiments.get(session, experiment_id).mlflow_run_id), str(train)


def more(database: Database, experiment_id: str) -> None:
    """Have MLflow hear more of an experiment and of its training."""
    with database.transaction() as session:
        key = next(view.row.key for view in experiments.stages(session, experiment_id) if view.row.kind == "train")
        outbox.add_metrics(session, key, 9, {"more": 1.0}, 1)
        outbox.add_results(session, experiment_id, {"more": 1.0}, 1)


def test_a_run_that_somebody_deletes_is_restored_when_there_is_more_to_tell(
    database: Database, tracker: Tracker, client: MlflowClient, store: ArtifactStore, tmp_path: Path
) -> None:
    experiment_id = run_with_curves(database, store, tmp_path)
    tracker.drain()
    for run_id in (runs := runs_of(database, experiment_id)):
        client.delete_run(run_id)
    tracker.drain()
    assert {client.get_run(run_id).info.lifecycle_stage for run_id in runs} == {"deleted"}
    more(database, experiment_id)
    tracker.drain()
    assert [client.get_run(run_id).data.metrics["more"] for run_id in runs] == [1.0, 1.0]
    require_all(database, client, experiment_id)
    assert {event.data["run_id"] for event in told(database, "mlflow.restored")} == set(runs)
    assert counted(database) == []


def test_a_run_that_is_gone_for_good_is_made_anew_with_all_that_it_had_and_its_children(
    database: Database, tracker: Tracker, client: MlflowClient, server: Server, store: ArtifactStore, tmp_path: Path
) -> None:
    experiment_id = run_with_curves(database, store, tmp_path)
    tracker.drain()
    runs = runs_of(database, experiment_id)
    server.sql(
        *(
            f"DELETE FROM {table} WHERE run_uuid IN {runs}"
            for table in ("tags", "params", "metrics", "latest_metrics", "runs")
        )
    )
    more(database, experiment_id)
    tracker.drain()
    assert not set(runs) & set(runs_of(database, experiment_id))
    require_all(database, client, experiment_id)
    assert {event.data["run_id"] for event in told(database, "mlflow.recreated")} == set(runs)
    assert counted(database) == []


def test_what_we_have_written_wrongly_ourselves_is_set_aside_and_holds_up_nobody(
    database: Database, tracker: Tracker, client: MlflowClient
) -> None:
    row = submit(database, small_spec()).row
    with database.transaction() as session:
        session.add(OutboxRow(experiment_id=row.id, kind="metric", name="no value", data={}))
        session.add(OutboxRow(experiment_id=row.id, kind="status", data={"tags": {"after": "1"}}))
    for _ in range(6):
        tracker.drain()
    with database.transaction() as session:
        run_id = experiments.get(session, row.id).mlflow_run_id
    assert client.get_run(run_id).data.tags["twostream.after"] == "1"
    (event,) = told(database, "mlflow.refused")
    assert event.data["name"] == "no value"
