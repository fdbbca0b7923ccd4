"""What owners may run at once: kept to by claims that meet, and said of what waits."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import pytest
from sqlalchemy import func, select, text

from services.db.engine import Database
from services.db.tables import QuotaRow, StageRow
from services.errors import Contended
from services.queue import quotas, workers
from services.queue.claim import CLAIM, Claim
from services.queue.claim import claim as take
from services.settings import Quota
from tests.databases import wait_for_waiters
from tests.services.conftest import report


def allow(database: Database, **given: Mapping[str, Any]) -> None:
    found = {("*" if owner == "everybody" else owner): Quota(**quota) for owner, quota in given.items()}
    database.run(lambda session: quotas.replace(session, found))


def queue_up(database: Database, owner: str, count: int, queue: str = "gpu", gpus: int = 1, priority: int = 50) -> None:
    with database.transaction() as session:
        session.execute(
            text("""
            INSERT INTO stage (key, kind, params, label, queue, state, priority, owner, gpus, timeout_seconds, ready_at)
            SELECT :owner || :queue || :gpus || '-' || n, 'train', '{}', :owner, :queue, 'ready', :priority, :owner,
                :gpus, 60, now() + n * interval '1 ms'
            FROM generate_series(1, :count) AS n"""),
            {"owner": owner, "queue": queue, "gpus": gpus, "count": count, "priority": priority},
        )


def claim(database: Database, gpus: int = 8) -> Claim | None:
    return database.run(
        lambda session: take(session, ("cpu", "gpu"), worker_id="w", device="cpu", lease_seconds=60, gpus=gpus)
    )


def labels(database: Database) -> list[str]:
    return [found.label for found in iter(lambda: claim(database), None)]


def reasons(database: Database) -> set[str]:
    with database.transaction() as session:
        return {found.reason for found in workers.waiting(session)}


def test_who_runs_what_they_may_waits_and_others_go_on(database: Database) -> None:
    report(database, "w", queues=("cpu", "gpu"))
    queue_up(database, "ana", 3, priority=90)
    queue_up(database, "ben", 2)
    allow(database, ana={"stages": 2})
    assert labels(database) == ["ana", "ana", "ben", "ben"]
    assert reasons(database) == {"quota: 'ana' runs 2 of 2 stages at once"}
    with database.transaction() as session:
        session.execute(text("UPDATE stage SET state = 'succeeded' WHERE key = 'anagpu1-1'"))
    assert labels(database) == ["ana"]


def test_everybody_has_the_quota_of_everybody_but_what_is_their_own(database: Database) -> None:
    for owner in ("ana", "ben"):
        queue_up(database, owner, 5)
    allow(database, everybody={"stages": 1, "gpus": 3}, ana={"stages": 4})
    assert sorted(labels(database)) == ["ana"] * 3 + ["ben"]
    report(database, "w", queues=("cpu", "gpu"))
    assert reasons(database) == {
        "quota: 'ana' holds 3 of 3 GPUs at once",
        "quota: 'ben' runs 1 of 1 stage at once",
    }


def test_gpus_are_counted_as_many_as_a_stage_takes(database: Database) -> None:
    report(database, "w", queues=("cpu", "gpu"))
    queue_up(database, "ana", 2, gpus=2, priority=90)
    queue_up(database, "ana", 2, gpus=1, priority=10)
    queue_up(database, "ana", 3, queue="cpu", priority=5)
    allow(database, ana={"gpus": 3})
    found = [(each.queue, each.gpus) for each in iter(lambda: claim(database), None)]
    assert found == [("gpu", 2), ("gpu", 1), ("cpu", 1), ("cpu", 1), ("cpu", 1)]
    assert reasons(database) == {
        "quota: 'ana' holds 3 of 3 GPUs at once; this needs 2",
        "quota: 'ana' holds 3 of 3 GPUs at once",
    }


def test_nought_lets_nothing_run(database: Database) -> None:
    queue_up(database, "ana", 1)
    allow(database, ana={"stages": 0})
    assert labels(database) == []
    allow(database)
    assert labels(database) == ["ana"], "quotas are replaced as a whole"


def test_slots_go_by_shares(database: Database) -> None:
    for owner in ("ana", "ben"):
        queue_up(database, owner, 6)
    allow(database, ana={"share": 2})
    first = [claim(database) for _ in range(6)]
    assert sorted(found.label for found in first if found is not None) == ["ana"] * 4 + ["ben"] * 2


def test_claims_that_meet_keep_to_a_quota(database: Database) -> None:
    queue_up(database, "ana", 40)
    allow(database, ana={"stages": 5})
    most: list[int] = []

    def work() -> None:
        while (found := claim(database)) is not None:
            with database.transaction() as session:
                running = select(func.count()).select_from(StageRow).where(StageRow.state == "running")
                most.append(session.scalar(running) or 0)
                session.execute(text("UPDATE stage SET state = 'succeeded' WHERE key = :key"), {"key": found.key})

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 40
    assert max(most) <= 5


def test_of_two_claims_at_one_moment_the_second_starts_anew(database: Database) -> None:
    queue_up(database, "ana", 2)
    allow(database, ana={"stages": 1})
    values = {"worker_id": "w", "device": "cpu", "lease_seconds": 60}
    found: list[BaseException] = []
    begun = threading.Event()

    def second() -> None:
        try:
            with database.transaction() as session:
                begun.set()
                take(session, ("gpu",), **values)  # type: ignore[arg-type]
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=second)
    with database.transaction() as session:
        assert take(session, ("gpu",), **values) is not None  # type: ignore[arg-type]
        thread.start()
        wait_for_waiters(database, going=thread.is_alive)
    thread.join()
    assert isinstance(found[0], Contended)
    assert claim(database) is None


def test_an_api_replaces_what_another_one_said(database: Database) -> None:
    allow(database, ana={"stages": 1}, ben={"gpus": 2})
    allow(database, ben={"share": 3})
    with database.transaction() as session:
        rows = [(row.owner, row.stages, row.gpus, row.share) for row in session.scalars(select(QuotaRow))]
    assert rows == [("ben", None, None, 3)]


@pytest.mark.parametrize("limited", [False, True])
def test_a_claim_is_made_by_indexes_alone(database: Database, limited: bool) -> None:
    for owner in ("ana", "ben", "eve"):
        queue_up(database, owner, 2000)
    with database.transaction() as session:
        session.execute(
            text("""
            INSERT INTO stage (key, kind, params, label, queue, state, owner, timeout_seconds)
            SELECT 'done' || n, 'train', '{}', '', 'gpu', 'succeeded', 'ana', 60 FROM generate_series(1, 5000) AS n""")
        )
    if limited:
        allow(database, everybody={"stages": 10, "gpus": 10}, ana={"stages": 0})
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE stage"))
    values = {"queues": ["gpu"], "worker_id": "w", "device": "cpu", "lease_seconds": 60, "gpus": 1, "environment": None}
    with database.transaction() as session:
        plan = session.execute(text(f"EXPLAIN (FORMAT JSON) {CLAIM.text}"), values).scalar_one()[0]["Plan"]

    def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
        return [plan, *(inner for part in plan.get("Plans", ()) for inner in nodes(part))]

    read = nodes(plan)
    assert not [node for node in read if node["Node Type"] == "Seq Scan" and node["Relation Name"] == "stage"]
    assert {"ix_stage_claim", "ix_stage_lease", "pk_stage"} <= {node.get("Index Name") for node in read}
    found = claim(database)
    assert found is not None
    assert found.label == ("ben" if limited else "ana")
