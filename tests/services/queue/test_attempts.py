from __future__ import annotations

import pytest
from sqlalchemy import select

from services.db.engine import Database
from services.db.tables import AttemptRow, EventRow, OutboxRow, StageRow
from services.errors import Cause, LeaseLost
from services.queue import attempts, experiments, workers
from services.queue.attempts import Fact
from services.queue.housekeeping import end_expired
from tests.services.conftest import Decreed, small_spec, submit


def test_a_lease_that_runs_out_is_given_to_another_attempt_and_fences_the_first(database: Database) -> None:
    slow, quick = Decreed(database, "slow"), Decreed(database, "quick")
    submit(database, small_spec())
    first = slow.claim("cpu", lease_seconds=-1)
    assert first is not None
    end_expired(database)
    second = quick.claim("cpu")
    assert second is not None
    assert (second.key, second.attempt) == (first.key, 2)
    with pytest.raises(LeaseLost):
        slow.succeed(first)
    with pytest.raises(LeaseLost):
        slow.fail(first, Cause.INTERNAL)
    with database.transaction() as session, pytest.raises(LeaseLost):
        attempts.heartbeat(session, first.key, first.attempt, 30)
    with database.transaction() as session, pytest.raises(LeaseLost):
        attempts.record(session, first.key, first.attempt, [Fact("warning", 0, {"message": "stale"})])
    quick.succeed(second)
    with database.transaction() as session:
        states = session.scalars(select(AttemptRow.state).order_by(AttemptRow.number)).all()
        assert not session.scalars(select(EventRow).where(EventRow.type == "stage.warning")).all()
    assert states == ["failed", "succeeded"]


def test_a_lease_that_is_renewed_is_left_alone(database: Database) -> None:
    submit(database, small_spec())
    claim = Decreed(database).claim("cpu", lease_seconds=-1)
    assert claim is not None
    with database.transaction() as session:
        renewal = attempts.heartbeat(session, claim.key, claim.attempt, 30, "so far\x00 so good")
    assert not renewal.cancel_requested
    end_expired(database)
    with database.transaction() as session:
        assert session.scalars(select(StageRow.state).where(StageRow.key == claim.key)).one() == "running"
        assert session.scalars(select(AttemptRow.log)).one() == "so far\ufffd so good"


@pytest.mark.parametrize(
    ("cause", "attempts"),
    [(Cause.USER_ERROR, 1), (Cause.DATA_ERROR, 1), (Cause.TIMEOUT, 1), (Cause.INTERNAL, 2), (Cause.WORKER_LOST, 4)],
)
def test_each_cause_is_tried_as_often_as_its_rule_says(database: Database, cause: Cause, attempts: int) -> None:
    worker = Decreed(database)
    row = submit(database, small_spec()).row
    labels = worker.run_all(lambda claim: worker.fail(claim, cause))
    assert len(labels) == attempts
    with database.transaction() as session:
        assert experiments.get(session, row.id).cause == cause


def test_a_cause_with_a_delay_waits_and_says_so(database: Database) -> None:
    worker = Decreed(database)
    submit(database, small_spec())
    with database.transaction() as session:
        workers.report(session, "w", queues=["cpu", "gpu"], devices=["cpu"], concurrency=1)
    worker.fail(worker.claim("cpu"), Cause.OUT_OF_MEMORY)  # type: ignore[arg-type]
    assert worker.claim("cpu") is None
    with database.transaction() as session:
        assert attempts.ready(session) == {}
        first, *others = workers.waiting(session)
    assert first.reason.startswith("tried again at ")
    assert all(other.reason.startswith("needs ") for other in others)


def test_preempted_stages_come_back_however_often(database: Database) -> None:
    worker = Decreed(database)
    submit(database, small_spec())
    for _ in range(6):
        claim = worker.claim("cpu")
        assert claim is not None
        assert worker.fail(claim, Cause.PREEMPTED) == {"cpu": 1}


def test_what_postgres_does_not_hold_keeps_no_stage_from_ending(database: Database) -> None:
    worker = Decreed(database)
    row = submit(database, small_spec()).row
    claim = worker.claim("cpu")
    assert claim is not None
    facts = [
        Fact("metrics", 0, {"step": 1, "values": {"train_loss": float("nan"), "train_top1": 0.5}}),
        Fact("warning", 0, {"message": "clip 'a\0b'", "half": ["\ud800"]}),
    ]
    with database.transaction() as session:
        attempts.record(session, claim.key, claim.attempt, facts)
    worker.fail(claim, Cause.DATA_ERROR, "trainlist01.txt:1: a\0b.avi does not exist \ud800")
    with database.transaction() as session:
        points = session.scalars(select(OutboxRow.name).where(OutboxRow.kind == "metric")).all()
        told = {event.type: event.data for event in experiments.events_after(session, row.id, 0, 100)}
        stage, experiment = experiments.stages(session, row.id)[0].row, experiments.get(session, row.id)
    assert points == ["train_top1"]
    assert told["stage.metrics"]["values"] == {"train_loss": "nan", "train_top1": 0.5}
    assert told["stage.warning"]["message"] == "clip 'a\ufffdb'"
    assert (stage.cause, experiment.cause, experiment.state) == (Cause.DATA_ERROR, Cause.DATA_ERROR, "failed")
    assert stage.message == "trainlist01.txt:1: a\ufffdb.avi does not exist \ufffd"


def test_progress_is_kept_once_and_its_events_go_with_the_attempt(database: Database) -> None:
    worker = Decreed(database)
    row = submit(database, small_spec()).row
    claim = worker.claim("cpu")
    assert claim is not None
    facts = [Fact("progress", 0, {"done": done, "total": 9, "unit": "clips", "message": ""}) for done in (1, 2, 3)]
    with database.transaction() as session:
        attempts.record(session, claim.key, claim.attempt, facts)
    with database.transaction() as session:
        kept = experiments.stages(session, row.id)[0].row.progress
        assert kept is not None
        assert {name: value for name, value in kept.items() if name != "marks"} == facts[-1].data
        events = experiments.events_after(session, row.id, 0, 100)
    assert [event.data["done"] for event in events if event.type == "stage.progress"] == [3]
    worker.succeed(claim)
    with database.transaction() as session:
        assert not session.scalars(select(EventRow).where(EventRow.type == "stage.progress")).all()
