"""What workers report, and what a stage that waits is told of them."""

from __future__ import annotations

from services.db.engine import Database
from services.queue import workers
from tests.services.conftest import Decreed, report, small_spec, submit


def test_each_waiting_stage_says_why(database: Database) -> None:
    submit(database, small_spec())
    with database.transaction() as session:
        reasons = [stage.reason for stage in workers.waiting(session)]
    assert reasons[0] == "no live worker serves queue 'cpu'; hint: twostream worker --queues cpu"
    with database.transaction() as session:
        workers.report(session, "w", queues=["cpu"], devices=["cpu"], concurrency=2)
    with database.transaction() as session:
        first, *others = workers.waiting(session)
    assert first.reason == "number 1 in line for queue 'cpu': 2 slots in 1 worker are busy"
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


def test_the_queue_says_why_a_worker_takes_nothing(database: Database) -> None:
    report(database, "full", draining="the disk of /work is full")
    submit(database, small_spec())
    with database.transaction() as session:
        first = workers.waiting(session)[0]
        (row,) = workers.listing(session)
    assert first.reason == "worker full takes no work: the disk of /work is full"
    assert (row.state, row.message) == ("draining", "the disk of /work is full")
