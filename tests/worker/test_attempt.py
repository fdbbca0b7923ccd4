"""The end of an attempt whose output the artifact store does not take."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from services import experiments, registry
from services.api_keys import LOCAL
from services.artifacts import ArtifactStore
from services.db.engine import Database
from services.db.tables import StageRow
from services.settings import Settings
from tests.services.conftest import Decreed, small_spec, submit
from worker.attempt import Attempt, Worker
from worker.devices import Grant
from worker.endings import Ending
from worker.heartbeat import Heartbeat


class Stuck:
    """A claimed stage that has succeeded, and a store in whose place lies a file."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        self.experiment = submit(database, small_spec()).row.id
        claim = Decreed(database).claim("cpu")
        assert claim is not None
        self.key, self.stopping = claim.key, threading.Event()
        (folder / "taken").touch()
        worker = Worker(
            id="stuck",
            settings=Settings(home=folder),
            database=database,
            broker=cast("Any", None),
            store=ArtifactStore(str(folder / "taken" / "store"), folder / "cache"),
            forkservers=cast("Any", None),
            threads=1,
            stopping=self.stopping,
        )
        self.attempt = Attempt(worker, claim, Grant("cpu"))
        self.heart = Heartbeat(self.attempt, every_seconds=5, lease_seconds=30)

    def finish(self) -> dict[str, int]:
        return self.attempt._finish(Ending("succeeded", summary={}), self.heart)

    def stage(self) -> StageRow:
        with self.database.transaction() as session:
            return session.get_one(StageRow, self.key)


@pytest.fixture
def stuck(database_url: str, tmp_path: Path) -> Iterator[Callable[[], Stuck]]:
    database = Database(database_url)
    with database.transaction() as session:
        registry.add_generated(session)
    yield lambda: Stuck(database, tmp_path)
    database.close()


def test_a_stage_that_waits_for_the_store_can_be_cancelled(stuck: Callable[[], Stuck]) -> None:
    found = stuck()
    with found.database.transaction() as session:
        experiments.cancel(session, found.experiment, LOCAL)
    found.heart.cancel_requested.set()
    assert found.finish() == {}
    assert found.stage().state == "cancelled"


def test_a_worker_that_shuts_down_waits_for_no_store(stuck: Callable[[], Stuck]) -> None:
    found = stuck()
    found.stopping.set()
    assert found.finish() == {"cpu": 1}
    assert (found.stage().state, found.stage().attempt) == ("ready", 1)
