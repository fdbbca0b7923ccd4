"""Runs in MLflow of experiments that were renamed, noted or deleted."""

from __future__ import annotations

import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType

from services.api_keys import LOCAL
from services.db.engine import Database
from services.db.tables import ExperimentRow
from services.queue import edits, experiments, removal
from services.queue.edits import Edit
from services.tracking.mlflow_server import folder_name
from services.tracking.sender import Tracker
from tests.services.conftest import Decreed, small_spec, submit

# The server loads for long where others compute: it lets them go first.
pytestmark = [pytest.mark.xdist_group("mlflow"), pytest.mark.timeout(600)]


def runs(client: MlflowClient, id_: str, view: int = ViewType.ACTIVE_ONLY) -> list[str]:
    folder = client.get_experiment_by_name(folder_name(small_spec().dataset))
    assert folder is not None
    found = client.search_runs([folder.experiment_id], f"tags.`twostream.id` = '{id_}'", run_view_type=view)
    return [run.info.run_id for run in found]


def test_a_run_has_the_name_and_the_note_of_its_experiment(
    database: Database, tracker: Tracker, client: MlflowClient
) -> None:
    id_ = submit(database, small_spec()).row.id
    tracker.drain()
    edit = Edit(name="renamed", note="why", add=["a"])
    database.run(lambda session: edits.edit(session, id_, edit, LOCAL))
    tracker.drain()
    run = client.get_run(runs(client, id_)[0])
    assert run.info.run_name == "renamed"
    assert (run.data.tags["mlflow.note.content"], run.data.tags["twostream.tags"]) == ("why", "a")


@pytest.mark.parametrize("heard", [True, pytest.param(False, marks=pytest.mark.long)])
def test_the_run_of_a_deleted_experiment_is_deleted(
    database: Database, tracker: Tracker, client: MlflowClient, heard: bool
) -> None:
    id_ = submit(database, small_spec()).row.id
    kept = submit(database, small_spec(name="kept", seeds=(1,))).row.id
    Decreed(database).run_all()
    if heard:
        tracker.drain()
    database.run(lambda session: removal.delete(session, id_, LOCAL))
    tracker.drain()
    tracker.drain()
    assert runs(client, id_) == []
    assert len(runs(client, id_, ViewType.ALL)) == heard
    assert len(runs(client, kept)) == 1


def test_a_run_that_was_opened_while_its_experiment_was_deleted_goes_too(
    database: Database, tracker: Tracker, client: MlflowClient
) -> None:
    id_ = submit(database, small_spec()).row.id
    tracker.drain()
    with database.transaction() as session:  # as if the answer of the request that opened it were still to come
        session.get_one(ExperimentRow, id_).mlflow_run_id = None
    database.run(lambda session: experiments.cancel(session, id_, LOCAL))
    database.run(lambda session: removal.delete(session, id_, LOCAL))
    tracker.drain()
    assert runs(client, id_) == []
