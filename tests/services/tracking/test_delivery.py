"""What a row needs of our own stores: a file that is gone, a store that is away, no room for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow import MlflowClient

from services.db.engine import Database
from services.journal import outbox
from services.stores.objects import ObjectStore
from services.tracking.sender import Tracker
from tests.services.conftest import Away, Decreed, small_spec, submit
from tests.services.tracking.conftest import (
    Server,
    counted,
    failing,
    new_tracker,
    require_all,
    run_with_curves,
    tags_of,
)

# The server loads for long where others compute: it lets them go first.
pytestmark = [pytest.mark.xdist_group("mlflow"), pytest.mark.timeout(600)]


def test_a_file_that_is_gone_holds_up_no_other_run(database: Database, tracker: Tracker, client: MlflowClient) -> None:
    worker = Decreed(database)
    submit(database, small_spec())
    claim = worker.claim("cpu")
    assert claim is not None
    with database.transaction() as session:
        outbox.add_artifact(session, claim.key, "model.pt", "stages/no/such/place/model.pt")
    second = submit(database, small_spec(name="second")).row.id
    tracker.drain()
    assert tags_of(database, client, second)
    assert [row.kind for row in failing(database)] == ["artifact"]


def test_an_artifact_store_that_is_away_counts_against_no_row(
    database: Database, tracker: Tracker, client: MlflowClient, server: Server, tmp_path: Path
) -> None:
    store = ObjectStore("memory://twostream", tmp_path / "cache")
    experiment_id = run_with_curves(database, store, tmp_path)
    Away(store, 10**9)
    for _ in range(2):
        new_tracker(server.url, database, store).drain()
    assert counted(database) == []
    new_tracker(server.url, database, ObjectStore("memory://twostream", tmp_path / "other cache")).drain()
    require_all(database, client, experiment_id)
