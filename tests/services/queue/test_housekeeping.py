from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from services import chores
from services.db.engine import Database
from services.db.tables import StageRow
from services.errors import LeaseLost, Unavailable
from services.queue import attempts, experiments, graph, housekeeping, workers
from services.queue.housekeeping import SWEEP, Housekeeper, sweep
from services.settings import Settings
from services.stores.broker import Broker
from tests.services.conftest import Decreed, small_spec, submit


@pytest.fixture
def broker(redis_url: str) -> Iterator[Broker]:
    broker = Broker(redis_url)
    yield broker
    broker.close()


@pytest.fixture
def settings(tmp_path: Path, database_url: str, redis_url: str) -> Settings:
    return Settings(home=tmp_path, database_url=database_url, redis_url=redis_url, sweep_seconds=0.05)


def eventually(condition: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def test_a_lost_doorbell_is_rung_again_and_only_as_often_as_needed(
    database: Database, broker: Broker, settings: Settings
) -> None:
    submit(database, small_spec())
    assert broker.pending("cpu") == 0
    for _ in range(3):
        sweep(database, broker, settings)
    assert broker.pending("cpu") == 1


def test_an_attempt_without_heartbeat_is_ended_and_rung_for(
    database: Database, broker: Broker, settings: Settings
) -> None:
    row = submit(database, small_spec()).row
    Decreed(database).claim("cpu", lease_seconds=-1)
    sweep(database, broker, settings)
    assert broker.pending("cpu") == 1
    with database.transaction() as session:
        (event,) = [e for e in experiments.events_after(session, row.id, 0, 99) if e.type == "stage.retried"]
    assert event.data["cause"] == "worker_lost"


def test_two_housekeepers_share_the_work_and_stop(database: Database, broker: Broker, settings: Settings) -> None:
    submit(database, small_spec())

    def requeued() -> bool:
        with database.transaction() as session:
            return attempts.ready(session) == {"cpu": 1}

    with contextlib.ExitStack() as stops:
        for keeper in [Housekeeper(settings, database, broker) for _ in range(2)]:
            keeper.start()
            stops.callback(keeper.stop)
        eventually(lambda: broker.pending("cpu") == 1)
        claim = Decreed(database).claim("cpu", lease_seconds=-1)
        assert claim is not None
        eventually(requeued)


def test_a_part_of_the_sweep_that_fails_takes_no_turn_from_the_others(
    database: Database, broker: Broker, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit(database, small_spec())
    Decreed(database).claim("cpu", lease_seconds=-1)

    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug in one part")

    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(workers, "mark_lost", broken)
        sweep(database, broker, settings)
    assert broker.pending("cpu") == 1
    with database.transaction() as session:
        assert chores.age_seconds(session, SWEEP) is None
    sweep(database, broker, settings)
    with database.transaction() as session:
        assert chores.age_seconds(session, SWEEP) is not None


def test_a_sweep_that_raises_is_followed_by_the_next(
    database: Database, broker: Broker, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = [ZeroDivisionError("a bug"), LeaseLost("a race"), KeyError("another bug")]
    swept = threading.Event()

    def flawed(*arguments: object) -> None:
        if faults:
            raise faults.pop()
        swept.set()

    monkeypatch.setattr(housekeeping, "sweep", flawed)
    keeper = Housekeeper(settings, database, broker)
    keeper.start()
    assert swept.wait(120)
    keeper.stop()


def test_clocks_that_were_set_back_keep_no_stage_and_no_worker(
    database: Database, broker: Broker, settings: Settings
) -> None:
    submit(database, small_spec())
    worker = Decreed(database)
    worker.claim("cpu")
    with database.transaction() as session:
        workers.report(session, "w", queues=["cpu"], devices=["cpu"], concurrency=1)
    with database.transaction() as session:
        session.execute(text("UPDATE stage SET lease_expires_at = now() + interval '1 hour' WHERE state = 'running'"))
        session.execute(text("UPDATE worker SET last_seen_at = now() + interval '1 hour'"))
    sweep(database, broker, settings)
    with database.transaction() as session:
        late = text("SELECT lease_expires_at - now() < interval '1 minute' FROM stage WHERE state = 'running'")
        assert session.scalars(late).all() == [True]
        assert [row.state for row in workers.listing(session)] == ["lost"]
        session.execute(text("UPDATE stage SET lease_expires_at = now() - interval '1 s' WHERE state = 'running'"))
    sweep(database, broker, settings)
    with database.transaction() as session:
        session.execute(text("UPDATE stage SET not_before = now() + interval '1 hour' WHERE state = 'ready'"))
        assert attempts.ready(session) == {"cpu": 1}
    assert worker.claim("cpu") is not None


def test_an_experiment_left_over_is_settled(database: Database, broker: Broker, settings: Settings) -> None:
    row = submit(database, small_spec()).row
    Decreed(database).run_all()
    with database.transaction() as session:
        experiments.get(session, row.id).state = "running"
    sweep(database, broker, settings)
    with database.transaction() as session:
        assert experiments.get(session, row.id).state == "succeeded"


def test_an_experiment_left_over_while_it_was_cancelled_is_settled(
    database: Database, broker: Broker, settings: Settings
) -> None:
    rows = [submit(database, small_spec(name=name)).row for name in ("one", "other")]
    claim = Decreed(database).claim("cpu")
    assert claim is not None
    with database.transaction() as session:
        for row in rows:
            experiments.get(session, row.id).state = "cancelling"
        session.get_one(StageRow, claim.key).cancel_requested = True
    sweep(database, broker, settings)
    with database.transaction() as session:
        assert {experiments.get(session, row.id).state for row in rows} == {"cancelling"}
        session.get_one(StageRow, claim.key).cancel_requested = False
    sweep(database, broker, settings)
    with database.transaction() as session:
        assert {experiments.get(session, row.id).state for row in rows} == {"cancelled"}


def test_a_sweep_locks_no_experiment_that_waits(database: Database) -> None:
    submit(database, small_spec())
    with database.transaction() as sweeping, database.transaction() as another:
        graph.settle_leftovers(sweeping)
        assert another.scalar(text("SELECT id FROM experiment FOR UPDATE SKIP LOCKED")) is not None


def test_a_broker_that_is_away_loses_nothing_and_is_named(database: Database) -> None:
    broker = Broker("redis://:secret@127.0.0.1:1/0")
    assert broker.ring({"cpu": 1}) is False
    with pytest.raises(Unavailable, match=r"^Redis at 127\.0\.0\.1:1/0: "):
        broker.ping()
    with pytest.raises(Unavailable):
        broker.pending("cpu")
    broker.close()
