"""A submission that is only tried: it says what would run, and leaves nothing."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import func, select

from services.db.tables import AttemptRow, Base, EventRow, ExperimentRow, OutboxRow, StageRow
from services.queue import attempts
from tests.api.conftest import SPEC

UNKNOWN = {"attempts": 0, "seconds": None, "memory_bytes": None, "gpu_memory_bytes": None, "disk_bytes": None}
TABLES: tuple[type[Base], ...] = (ExperimentRow, StageRow, EventRow, OutboxRow)


def tried(client, **changes):
    answer = client.post("/experiments?dry_run=true", json=SPEC | changes)
    assert answer.status_code == 200, answer.text
    return answer.json()


def rows(database):
    with database.transaction() as session:
        return [session.scalar(select(func.count()).select_from(table)) for table in TABLES]


def by_kind(found):
    return {stage["kind"]: stage for stage in found["stages"]}


def succeed_with(worker, claim, **usage):
    with worker.database.transaction() as session:
        summary = {"results": worker.results(claim)} if claim.kind == "fuse" else {}
        made = {"summary": summary, "output": "there", "log": "", "usage": attempts.Usage(**usage)}
        attempts.succeed(session, claim.key, claim.attempt, **made)


def test_nothing_is_queued_and_what_is_not_known_is_said_to_be(client, database, submit):
    before = rows(database)
    found = tried(client)
    assert rows(database) == before
    assert [stage["kind"] for stage in found["stages"]] == ["index", "extract", "train", "score", "fuse"]
    assert [(stage["state"], stage["reused"], stage["estimate"]) for stage in found["stages"]] == [
        (None, False, UNKNOWN)
    ] * 5
    assert (found["total"], found["reused"], found["seconds"], found["memory_bytes"]) == (5, 0, 0, None)
    assert found["unknown"] == [stage["name"] for stage in found["stages"]]
    submitted = submit()
    planned = client.get(f"/experiments/{submitted['id']}/stages").json()
    assert [stage["key"] for stage in planned] == [stage["key"] for stage in found["stages"]]


def test_estimates_are_those_of_stages_of_the_same_kind_and_sizes(client, database, submit, worker):
    submit()
    runner = worker()
    sizes = {"index": 10, "extract": 20, "train": 30, "score": 40, "fuse": 50}
    while (claim := runner.claim()) is not None:
        succeed_with(runner, claim, memory_bytes=sizes[claim.kind], disk_bytes=2 * sizes[claim.kind])
    with database.transaction() as session:
        for row in session.scalars(select(AttemptRow)):
            row.finished_at = row.started_at + timedelta(minutes=1)
    other_seed = tried(client, seeds=[1])
    stages = by_kind(other_seed)
    assert {kind: stages[kind]["reused"] for kind in ("index", "train", "score", "fuse")} == {
        "index": True,
        "train": False,
        "score": False,
        "fuse": False,
    }
    assert stages["index"]["estimate"] is None
    assert stages["index"]["state"] == "succeeded"
    assert stages["train"]["estimate"] == UNKNOWN | {
        "attempts": 1,
        "seconds": 60,
        "memory_bytes": 30,
        "disk_bytes": 60,
    }
    assert other_seed["memory_bytes"] == 50
    longer = by_kind(tried(client, training={"epochs": 7}))
    assert longer["train"]["estimate"] == UNKNOWN
    assert longer["score"]["estimate"]["attempts"] == 1


def test_an_output_that_is_gone_is_made_again_where_it_is_missed(client, database, submit, worker):
    submit()
    worker().finish_all()
    with database.transaction() as session:
        session.scalars(select(StageRow).where(StageRow.kind == "extract")).one().state = "evicted"
    whole = tried(client)
    assert (whole["total"], whole["reused"]) == (5, 5)
    missed = by_kind(tried(client, training={"epochs": 7}))
    assert [kind for kind, stage in missed.items() if not stage["reused"]] == ["extract", "train", "score", "fuse"]


def test_what_a_submission_refuses_a_dry_run_refuses(client):
    for change in ({"dataset": "nowhere"}, {"splits": [4]}, {"seeds": []}):
        assert client.post("/experiments?dry_run=true", json=SPEC | change).status_code == 422


def test_an_idempotency_key_has_no_meaning(client):
    answer = client.post("/experiments?dry_run=true", json=SPEC, headers={"Idempotency-Key": "a"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "Idempotency-Key"


@pytest.mark.parametrize("value", ["maybe", ""])
def test_it_is_yes_or_no(shared, value):
    answer = shared.post(f"/experiments?dry_run={value}", json=SPEC)
    assert answer.json()["errors"][0]["field"] == "dry_run"
