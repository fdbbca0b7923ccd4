"""A worker's farewell."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from services.db.engine import Database
from services.queue import workers
from services.settings import Settings
from worker.host.tasks import Station


def test_a_sign_of_life_that_is_under_way_does_not_outlive_the_farewell(
    database_url: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reporting, gone = threading.Event(), threading.Event()
    report, leave = workers.report, workers.leave

    def late(*arguments: Any, **values: Any) -> None:
        if threading.current_thread().name == "pulse":
            reporting.set()
            gone.wait(1)  # for the farewell, which must not come before
        report(*arguments, **values)

    def go(*arguments: Any) -> None:
        leave(*arguments)
        gone.set()

    settings = Settings(home=tmp_path, database_url=database_url, redis_url=redis_url, heartbeat_seconds=0.01)
    monkeypatch.setattr(workers, "report", late)
    monkeypatch.setattr(workers, "leave", go)
    station = Station(settings, [], 1)
    station.open()
    assert reporting.wait(30)
    station.close()
    database = Database(database_url)
    with database.transaction() as session:
        assert [row.state for row in workers.listing(session)] == ["stopped"]
    database.close()
