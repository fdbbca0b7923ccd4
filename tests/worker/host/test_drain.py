"""A host on which stages fail one after the other takes no more of them until it is well."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, text

from services import registry
from services.db.engine import Database
from services.db.tables import AttemptRow, DatasetRow
from services.errors import Cause
from services.queue import attempts, workers
from services.queue.claim import claim as take
from services.settings import Settings
from tests.services.conftest import Decreed, small_spec, submit
from worker.host.devices import Devices
from worker.host.drain import FAILURES, Drain, probe_host
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


def test_the_probe_writes_to_the_work_root_and_says_what_is_wrong(tmp_path: Path) -> None:
    assert probe_host(tmp_path / "work", ["cpu"]) is None
    assert list((tmp_path / "work").iterdir()) == []
    (tmp_path / "taken").touch()
    wrong = probe_host(tmp_path / "taken", ["cpu"])
    assert wrong is not None
    assert str(tmp_path / "taken") in wrong


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    database.run(registry.add_generated)
    yield database
    database.close()


def report(database: Database, worker_id: str, queues: tuple[str, ...] = ("cpu",), draining: str | None = None) -> None:
    database.run(
        lambda session: workers.report(
            session, worker_id, queues=queues, devices=["cpu"], concurrency=1, draining=draining
        )
    )


@pytest.mark.parametrize("cause", sorted(attempts.HOST_CAUSES))
def test_a_stage_that_failed_on_a_worker_goes_to_another_while_there_is_one(database: Database, cause: Cause) -> None:
    bad = Decreed(database, "bad")
    for name in ("bad", "good"):
        report(database, name)
    submit(database, small_spec())
    claim = bad.claim("cpu")
    assert claim is not None
    bad.fail(claim, cause)
    with database.transaction() as session:
        session.execute(text("UPDATE stage SET not_before = NULL"))
    assert bad.claim("cpu") is None
    report(database, "good", draining="the disk is full")
    assert bad.claim("cpu") is not None, "a worker that takes nothing could not take it"


def test_a_worker_without_the_queue_or_the_devices_is_no_other(database: Database) -> None:
    bad = Decreed(database, "bad")
    report(database, "bad")
    report(database, "elsewhere", queues=("gpu",))
    submit(database, small_spec())
    bad.fail(bad.claim("cpu"), Cause.INTERNAL)  # type: ignore[arg-type]
    assert bad.claim("cpu") is not None


def test_the_queue_says_why_a_worker_takes_nothing(database: Database) -> None:
    report(database, "full", draining="the disk of /work is full")
    submit(database, small_spec())
    with database.transaction() as session:
        first = workers.waiting(session)[0]
        (row,) = workers.listing(session)
    assert first.reason == "worker full takes no work: the disk of /work is full"
    assert (row.state, row.message) == ("draining", "the disk of /work is full")


def test_the_best_stage_of_all_queues_is_claimed_first(database: Database) -> None:
    submit(database, small_spec(priority=10))
    claim = Decreed(database).claim("cpu")
    assert claim is not None
    Decreed(database).succeed(claim)
    with database.transaction() as session:
        session.execute(
            text(
                "INSERT INTO stage (key, kind, params, label, queue, state, priority, owner, timeout_seconds, ready_at)"
                " VALUES (:key, 'flow', '{}', 'flow', 'cpu', 'ready', :priority, 'local', 60, now())"
            ),
            [{"key": "a" * 64, "priority": 50}, {"key": "b" * 64, "priority": 5}],
        )
    with database.transaction() as session:
        found = [take(session, ("cpu", "gpu"), worker_id="w", device="cpu", lease_seconds=30) for _ in range(3)]
    assert [claim and claim.kind for claim in found] == ["flow", "extract", "flow"]


class TestSlots:
    """Stages of queue ``cpu`` leave a slot for each GPU that the worker serves."""

    @pytest.fixture
    def four(self, monkeypatch: pytest.MonkeyPatch) -> Devices:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
        return Devices("auto", ("cpu", "gpu"), 4)

    def test_long_cpu_stages_leave_the_gpu_its_slot(self, four: Devices) -> None:
        grants = []
        while "cpu" in four.open_queues():
            grants.append(four.take("cpu", 1))
        assert len(grants) == 3
        assert four.open_queues() == ["gpu"]
        gpu = four.take("gpu", 1)
        assert four.open_queues() == []
        four.give_back("cpu", grants.pop())
        assert four.open_queues() == ["cpu"]
        four.give_back("gpu", gpu)
        assert four.open_queues() == ["cpu", "gpu"]

    def test_a_worker_of_one_slot_serves_both(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
        assert Devices("auto", ("cpu", "gpu"), 1).open_queues() == ["cpu", "gpu"]

    def test_without_a_gpu_nothing_is_kept_free(self) -> None:
        devices = Devices("cpu", ("cpu", "gpu"), 2)
        assert [devices.open_queues() for _ in range(2) if devices.take("cpu", 1)] == [["cpu", "gpu"]] * 2


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
