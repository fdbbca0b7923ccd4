"""Who needs a shared stage now decides what it asks for, and whether it goes on."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from services.api_keys import LOCAL
from services.db.engine import Database
from services.db.tables import StageRow
from services.errors import Cause
from services.queue import attempts, experiments
from tests.services.conftest import Decreed, small_spec, submit

SHORT = {"timeout_hours": 0.0003}
LONG = {"timeout_hours": 10.0}


def stages(database: Database) -> dict[str, StageRow]:
    """Every stage by its label."""
    with database.transaction() as session:
        return {row.label: row for row in session.scalars(select(StageRow))}


def labelled(database: Database, beginning: str) -> StageRow:
    (row,) = [row for label, row in stages(database).items() if label.startswith(beginning)]
    return row


def cancel(database: Database, experiment_id: str) -> None:
    with database.transaction() as session:
        experiments.cancel(session, experiment_id, LOCAL)


def retry(database: Database, experiment_id: str) -> None:
    with database.transaction() as session:
        experiments.retry(session, experiment_id, LOCAL)


def asked(row: StageRow) -> dict[str, Any]:
    return {"priority": row.priority, "owner": row.owner, "gpus": row.gpus, "hours": row.timeout_seconds / 3600}


def test_a_failed_stage_that_is_submitted_anew_has_the_new_limit(database: Database) -> None:
    worker = Decreed(database)
    submit(database, small_spec(resources=SHORT), owner="one")
    worker.fail(worker.claim("cpu"), Cause.TIMEOUT)  # type: ignore[arg-type]
    submit(database, small_spec(resources=LONG), owner="other")
    claim = worker.claim("cpu")
    assert claim is not None
    assert claim.timeout_seconds == 36_000
    assert labelled(database, "index").owner == "other"


def test_a_retry_asks_for_what_its_own_experiment_asks_for(database: Database) -> None:
    worker = Decreed(database)
    generous = submit(database, small_spec(resources=LONG, priority=90), owner="one").row
    modest = submit(database, small_spec(resources={"timeout_hours": 1.0}, priority=10), owner="other").row
    worker.fail(worker.claim("cpu"), Cause.DATA_ERROR)  # type: ignore[arg-type]
    retry(database, modest.id)
    assert asked(labelled(database, "index")) == {"priority": 10, "owner": "other", "gpus": 1, "hours": 1.0}
    retry(database, generous.id)
    assert asked(labelled(database, "index")) == {"priority": 90, "owner": "one", "gpus": 1, "hours": 10.0}


def test_while_it_waits_a_stage_asks_for_the_most_that_any_living_experiment_asks_for(database: Database) -> None:
    submit(database, small_spec(priority=20, resources={"timeout_hours": 5.0, "gpus": 1}), owner="first")
    urgent = submit(database, small_spec(priority=80, resources={"timeout_hours": 2.0, "gpus": 4}), owner="urgent").row
    expected = {"priority": 80, "owner": "urgent", "gpus": 4, "hours": 5.0}
    assert asked(labelled(database, "train")) == expected
    assert asked(labelled(database, "score")) == expected | {"gpus": 1}  # which uses one in any case
    cancel(database, urgent.id)
    assert asked(labelled(database, "train")) == {"priority": 20, "owner": "first", "gpus": 1, "hours": 5.0}


def test_an_experiment_that_fails_no_longer_asks_for_what_others_wait_for(database: Database) -> None:
    worker = Decreed(database)
    submit(database, small_spec(priority=20, seeds=(0,)))
    failing = submit(database, small_spec(priority=80, seeds=(1,))).row
    worker.succeed(worker.claim("cpu"))  # type: ignore[arg-type]
    claim = worker.claim("gpu")
    assert claim is not None
    assert claim.params["seed"] == 1
    shared = [row for row in stages(database).values() if row.kind == "index"]
    assert [row.state for row in shared] == ["succeeded"]
    worker.fail(claim, Cause.DATA_ERROR)
    with database.transaction() as session:
        assert experiments.get(session, failing.id).state == "failed"
    assert {row.priority for row in stages(database).values() if row.state in ("waiting", "ready")} == {20}


def test_the_limit_of_a_stage_that_runs_rises_with_whoever_joins(database: Database) -> None:
    worker = Decreed(database)
    submit(database, small_spec(resources=SHORT))
    claim = worker.claim("cpu")
    assert claim is not None
    submit(database, small_spec(resources=LONG), owner="other")
    with database.transaction() as session:
        assert attempts.heartbeat(session, claim.key, claim.attempt, 30).timeout_seconds == 36_000
    assert labelled(database, "index").owner == "local", "what it was claimed with stays"


def test_a_stage_that_is_tried_again_asks_for_what_those_ask_for_who_joined_while_it_ran(database: Database) -> None:
    worker = Decreed(database)
    submit(database, small_spec(priority=10))
    claim = worker.claim("cpu")
    assert claim is not None
    submit(database, small_spec(priority=90), owner="urgent")
    worker.fail(claim, Cause.PREEMPTED)
    assert asked(labelled(database, "index"))["priority"] == 90


BOTH: dict[str, Any] = {"streams": ("rgb", "flow"), "flow": {"algorithm": "farneback"}}


def test_a_branch_that_nothing_can_use_any_more_is_cancelled(database: Database) -> None:
    worker = Decreed(database)
    row = submit(database, small_spec(**BOTH)).row
    running, failing = None, None
    while failing is None or running is None:
        claim = worker.claim_any()
        assert claim is not None
        if claim.label.startswith("train") and " rgb" in claim.label:
            failing = claim
        elif claim.label.startswith("extract") and " flow" in claim.label:
            running = claim  # the other stream's long work, still under way
        else:
            worker.succeed(claim)
    worker.fail(failing, Cause.USER_ERROR)
    with database.transaction() as session:
        assert attempts.heartbeat(session, running.key, running.attempt, 30).cancel_requested
        assert experiments.get(session, row.id).state == "running"
    assert {r.state for label, r in stages(database).items() if " flow" in label and r.kind in ("train", "score")} == {
        "cancelled"
    }
    worker.fail(running, Cause.CANCELLED)
    with database.transaction() as session:
        found = experiments.get(session, row.id)
        assert (found.state, found.cause) == ("failed", "user_error")


def test_a_branch_that_another_experiment_uses_goes_on(database: Database) -> None:
    worker = Decreed(database)
    submit(database, small_spec(**BOTH))
    other = submit(database, small_spec(streams=("flow",), flow=BOTH["flow"])).row

    def end(claim: Any) -> None:
        failing = claim.label.startswith("train") and " rgb" in claim.label
        worker.fail(claim, Cause.USER_ERROR) if failing else worker.succeed(claim)

    worker.run_all(end)
    with database.transaction() as session:
        assert experiments.get(session, other.id).state == "succeeded"


def test_other_splits_and_seeds_of_a_failed_experiment_go_on(database: Database) -> None:
    worker = Decreed(database)
    submit(database, small_spec(seeds=(0, 1)))

    def end(claim: Any) -> None:
        failing = claim.kind == "train" and claim.params["seed"] == 0
        worker.fail(claim, Cause.USER_ERROR) if failing else worker.succeed(claim)

    labels = worker.run_all(end)
    assert "fuse rgb, split 1, seed 1" in labels
    assert "fuse rgb, split 1, seed 0" not in labels


def test_a_cancelled_branch_that_is_wanted_anew_goes_on(database: Database) -> None:
    worker = Decreed(database)
    row = submit(database, small_spec(**BOTH)).row
    worker.run_all(
        lambda claim: worker.fail(claim, Cause.USER_ERROR) if claim.kind == "train" else worker.succeed(claim)
    )
    retry(database, row.id)
    worker.run_all()
    with database.transaction() as session:
        assert experiments.get(session, row.id).state == "succeeded"


@pytest.mark.parametrize("cause", [Cause.WORKER_LOST, Cause.INTERNAL, Cause.PREEMPTED])
def test_what_nothing_can_use_is_not_tried_again(database: Database, cause: Cause) -> None:
    worker = Decreed(database)
    row = submit(database, small_spec()).row
    claim = worker.claim_any()
    assert claim is not None
    cancel(database, row.id)
    assert worker.fail(claim, cause) == {}
    with database.transaction() as session:
        assert experiments.get(session, row.id).state == "cancelled"
