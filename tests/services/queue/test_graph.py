"""What the end of a stage means for those that depend on it, and for their experiments."""

from __future__ import annotations

from services.db.engine import Database
from services.errors import Cause
from services.queue import experiments
from services.queue.claim import Claim
from tests.services.conftest import Decreed, small_spec, stage_states, state_of, submit


def test_a_failure_names_its_stage_and_ends_what_depends_on_it(database: Database) -> None:
    worker = Decreed(database)
    row = submit(database, small_spec()).row

    def fail_training(claim: Claim) -> None:
        if claim.kind == "train":
            worker.fail(claim, Cause.USER_ERROR, "no such thing")
        else:
            worker.succeed(claim)

    worker.run_all(fail_training)
    assert stage_states(database, row.id) == {
        "index": "succeeded", "extract": "succeeded", "train": "failed", "score": "cancelled", "fuse": "cancelled"
    }  # fmt: skip
    with database.transaction() as session:
        found = experiments.get(session, row.id)
    assert (found.state, found.cause) == ("failed", "user_error")
    assert found.message is not None
    assert "train ts_lstm rgb, split 1, seed 0: no such thing" in found.message


def test_a_failure_of_one_split_lets_the_others_finish(database: Database) -> None:
    worker = Decreed(database)
    row = submit(database, small_spec(splits=(1, 2))).row

    def fail_first_split(claim: Claim) -> None:
        if claim.kind == "train" and claim.params["split"] == 1:
            worker.fail(claim, Cause.USER_ERROR)
        else:
            worker.succeed(claim)

    labels = worker.run_all(fail_first_split)
    assert "fuse rgb, split 2, seed 0" in labels
    assert state_of(database, row.id) == "failed"


def test_submitting_again_revives_a_failed_stage(database: Database) -> None:
    worker = Decreed(database)
    submit(database, small_spec())
    worker.run_all(lambda claim: worker.fail(claim, Cause.DATA_ERROR, "no clip"))
    second = submit(database, small_spec(name="again"))
    assert second.queues == {"cpu": 1}
    worker.run_all()
    assert state_of(database, second.row.id) == "succeeded"
