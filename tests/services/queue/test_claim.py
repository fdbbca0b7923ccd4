"""Which stage a worker gets, and that it has it alone."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import text

from services.db.engine import Database
from services.errors import Cause
from services.queue import attempts
from services.queue.claim import Claim
from services.queue.claim import claim as take
from tests.services.conftest import Decreed, report, small_spec, submit


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
