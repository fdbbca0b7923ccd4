from __future__ import annotations

import threading

import pytest
from sqlalchemy import select

from services.db.engine import Database
from services.db.tables import AttemptRow, EventRow, OutboxRow, StageRow
from services.errors import Cause, LeaseLost
from services.queue import attempts, experiments, workers
from services.queue.attempts import Fact
from services.queue.claim import Claim
from services.queue.housekeeping import end_expired
from tests.services.conftest import Decreed, small_spec, submit


def test_many_claims_at_once_give_each_stage_to_one(database: Database) -> None:
    for number in range(8):
        submit(database, small_spec(name=f"e{number}", seeds=(number,)))
    Decreed(database).succeed(Decreed(database).claim("cpu"))  # type: ignore[arg-type]  # the shared index is there
    claims: list[Claim] = []

    def run() -> None:
        while (claim := Decreed(database).claim("gpu")) is not None:
            claims.append(claim)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(claims) == 8
    assert len({claim.key for claim in claims}) == 8
    assert {claim.attempt for claim in claims} == {1}


def test_priority_then_fair_share_then_age(database: Database) -> None:
    worker = Decreed(database)
    submit(database, small_spec())
    worker.succeed(worker.claim("cpu"))  # type: ignore[arg-type]
    submit(database, small_spec(seeds=(1,)), owner="greedy")
    submit(database, small_spec(seeds=(2,)), owner="greedy")
    submit(database, small_spec(seeds=(3,)), owner="modest")
    submit(database, small_spec(seeds=(4,), priority=90), owner="greedy")
    seeds = [claim.params["seed"] for claim in iter(lambda: worker.claim("gpu"), None)]
    assert seeds == [4, 0, 3, 1, 2]


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


def test_points_of_a_resumed_epoch_are_told_once(database: Database) -> None:
    worker = Decreed(database)
    row = submit(database, small_spec()).row
    for attempt_epochs in ((1, 2), (2, 3)):
        claim = worker.claim("cpu")
        assert claim is not None
        facts = [
            Fact("metrics", 1000 * epoch, {"step": epoch, "values": {"train_loss": 1 / epoch}})
            for epoch in attempt_epochs
        ]
        with database.transaction() as session:
            attempts.record(session, claim.key, claim.attempt, facts)
        worker.fail(claim, Cause.PREEMPTED)
    with database.transaction() as session:
        steps = session.scalars(select(OutboxRow.step).where(OutboxRow.kind == "metric").order_by(OutboxRow.step)).all()
        told = [
            event.data["step"] for event in experiments.events_after(session, row.id, 0, 100) if "step" in event.data
        ]
    assert steps == [1, 2, 3]
    assert told == [1, 2, 3]


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
        assert experiments.stages(session, row.id)[0].row.progress == facts[-1].data
        events = experiments.events_after(session, row.id, 0, 100)
    assert [event.data["done"] for event in events if event.type == "stage.progress"] == [3]
    worker.succeed(claim)
    with database.transaction() as session:
        assert not session.scalars(select(EventRow).where(EventRow.type == "stage.progress")).all()


def test_each_waiting_stage_says_why(database: Database) -> None:
    submit(database, small_spec())
    with database.transaction() as session:
        reasons = [stage.reason for stage in workers.waiting(session)]
    assert reasons[0] == "no live worker serves queue 'cpu'; hint: twostream worker --queues cpu"
    with database.transaction() as session:
        workers.report(session, "w", queues=["cpu"], devices=["cpu"], concurrency=2)
    with database.transaction() as session:
        first, *others = workers.waiting(session)
    assert first.reason == "number 1 in line for queue 'cpu': 2 slots in 1 workers are busy"
    assert first.position == 1
    assert {stage.position for stage in others} == {None}
    assert "needs index motion_shapes (ready)" in {stage.reason for stage in others}  # which come by their keys


def test_a_stage_that_wants_more_gpus_than_any_worker_has_says_so(database: Database) -> None:
    worker = Decreed(database)
    submit(database, small_spec(resources={"gpus": 4}))
    worker.succeed(worker.claim("cpu"))  # type: ignore[arg-type]
    worker.succeed(worker.claim("gpu"))  # type: ignore[arg-type]
    assert worker.claim("gpu") is None
    with database.transaction() as session:
        workers.report(session, "w", queues=["gpu"], devices=["cuda:0", "cuda:1"], concurrency=2)
    with database.transaction() as session:
        reasons = {stage.kind: stage.reason for stage in workers.waiting(session)}
    assert reasons["train"] == "needs 4 devices in one worker; the largest has 2"


def test_a_silent_worker_is_lost_and_a_stopped_one_is_not(database: Database) -> None:
    with database.transaction() as session:
        workers.report(session, "silent", queues=["cpu"], devices=["cpu"], concurrency=1)
        workers.report(session, "stopped", queues=["cpu"], devices=["cpu"], concurrency=1)
        workers.leave(session, "stopped")
    with database.transaction() as session:
        assert workers.mark_lost(session, silent_seconds=-1) == ["silent"]
        assert {row.id: row.state for row in workers.listing(session)} == {"silent": "lost", "stopped": "stopped"}
