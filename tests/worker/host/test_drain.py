"""A host on which stages fail one after the other takes no more of them until it is well."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from services import registry
from services.db.engine import Database
from services.db.tables import AttemptRow, DatasetRow
from services.errors import Cause
from services.queue import workers
from services.settings import Settings
from tests.services.conftest import small_spec, submit
from worker.host.drain import FAILURES, Drain
from worker.host.tasks import Station


def drain(folder: Path, *answers: str | None) -> Drain:
    left = list(answers)
    return Drain(folder, lambda: left.pop(0))


def test_different_stages_that_fail_in_a_row_for_causes_of_the_host_stop_a_worker(tmp_path: Path) -> None:
    found = drain(tmp_path, "cuda:0: computes wrong products", None)
    causes = (Cause.INTERNAL, Cause.CUDA_ERROR, Cause.DISK_FULL)
    stopped = [found.note(f"key {n}", f"train {n}", cause) for n, cause in zip(range(FAILURES), causes, strict=True)]
    assert stopped == [False, False, True]
    assert found.reason == "3 stages failed here in a row, the last was train 2 (disk_full)"
    found.look_again()
    assert found.reason == "the probe of this host failed: cuda:0: computes wrong products"
    found.look_again()
    assert found.reason is None


@pytest.mark.parametrize("between", [None, "the same stage", Cause.DATA_ERROR, Cause.PREEMPTED])
def test_what_is_the_fault_of_no_host_stops_no_worker(tmp_path: Path, between: Cause | str | None) -> None:
    found = drain(tmp_path)
    for number in range(2 * FAILURES):
        if between == "the same stage":
            assert not found.note("key", "train", Cause.INTERNAL)
        elif isinstance(between, Cause):
            assert not found.note(f"{number}", "train", between)
        else:
            assert not found.note(f"{number}", "train", Cause.INTERNAL if number % FAILURES else None)
    assert found.reason is None


def test_a_full_work_root_stops_a_worker_while_it_is_full(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.symlink_to("/proc")  # never has a byte to spare
    found = drain(work)
    assert found.reason == f"the disk of {work} is full"
    work.unlink()
    assert found.reason is None


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    database.run(registry.add_generated)
    yield database
    database.close()


def test_a_station_that_drains_claims_nothing_and_reports_it(
    database: Database, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    settings = Settings(home=tmp_path, database_url=database_url, redis_url=redis_url)
    submit(database, small_spec())
    station = Station(settings, ["cpu"], 1)
    for number in range(FAILURES):
        station.drain.note(f"{number}", "index", Cause.INTERNAL)
    assert station.work() == 0
    station._report()
    with database.transaction() as session:
        assert [row.state for row in workers.listing(session)] == ["draining"]
    station.close()


def test_a_host_that_has_lost_its_work_root_gives_stages_back_at_once_and_drains(
    database: Database, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    (tmp_path / "work").touch()  # a file where the folder should be
    settings = Settings(home=tmp_path, database_url=database_url, redis_url=redis_url)
    for number in range(FAILURES):
        with database.transaction() as session:
            session.add(DatasetRow(name=f"other_{number}", generator={}))
        submit(database, small_spec(dataset=f"other_{number}"))
    station = Station(settings, ["cpu"], 1)
    assert station.work() == FAILURES
    assert str(station.drain.reason).startswith(f"{FAILURES} stages failed here in a row")
    with database.transaction() as session:
        ends = [(row.state, row.cause, str(row.message)) for row in session.scalars(select(AttemptRow))]
    assert {(state, cause) for state, cause, _ in ends} == {("failed", "internal")}
    assert all(str(tmp_path / "work") in message for *_, message in ends)
    station.close()
