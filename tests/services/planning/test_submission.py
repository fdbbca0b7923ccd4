from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import select

from services import registry
from services.db.engine import Database
from services.db.tables import StageRow
from services.errors import Cause
from services.planning.submission import Submitted
from services.queue import experiments
from services.specs import ALSTM, EvaluationSpec, LocalizationSpec
from tests.services.conftest import Decreed, small_spec, submit


def counted(database: Database, made: Submitted) -> dict[str, int]:
    with database.transaction() as session:
        return experiments.counts(session, [made.row.id])[made.row.id]


def test_the_states_that_are_told_are_those_that_are_stored(database: Database) -> None:
    worker = Decreed(database)
    first = submit(database, small_spec(), idempotency_key="k")
    assert first.states == counted(database, first) == {"ready": 1, "waiting": 4}
    worker.succeed(worker.claim("cpu"))  # type: ignore[arg-type]
    worker.claim("gpu")
    shared = submit(database, small_spec(name="shared", splits=(1, 2)))
    assert shared.states == counted(database, shared) == {"succeeded": 1, "running": 1, "waiting": 6}
    again = submit(database, small_spec(), idempotency_key="k")
    assert again.states == counted(database, first) == {"succeeded": 1, "running": 1, "waiting": 3}


def test_revived_stages_whose_inputs_are_there_are_ready(database: Database) -> None:
    worker = Decreed(database)
    submit(database, small_spec())
    worker.run_all(
        lambda claim: worker.fail(claim, Cause.USER_ERROR) if claim.kind == "train" else worker.succeed(claim)
    )
    made = submit(database, small_spec(name="again"))
    assert made.states == counted(database, made) == {"succeeded": 2, "ready": 1, "waiting": 2}
    assert made.queues == {"gpu": 1}


def test_what_is_there_already_succeeds_at_once(database: Database) -> None:
    submit(database, small_spec())
    Decreed(database).run_all()
    made = submit(database, small_spec(name="again"))
    assert made.row.state == "succeeded"
    assert made.states == {"succeeded": 5}


def test_plans_that_overlap_are_stored_at_once_without_waiting_in_circles(database: Database) -> None:
    specs = [
        small_spec(name=str(n), splits=(1 + n % 3, 1 + (n + 1) % 3), seeds=(n // 3, n % 5 + 10)) for n in range(12)
    ]
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda wanted: submit(database, wanted), specs))
    assert all(sum(one.states.values()) == one.row.total_stages for one in made)
    Decreed(database).run_all()
    with database.transaction() as session:
        assert {experiments.get(session, one.row.id).state for one in made} == {"succeeded"}


def test_a_stage_that_localises_is_told_of_the_true_boxes(database: Database) -> None:
    asked = {"model": ALSTM(), "evaluation": EvaluationSpec(localization=LocalizationSpec())}
    with database.transaction() as session:
        folders = {"root": "/clips", "annotations": "/lists", "boxes": "/boxes.pkl"}
        registry.add(session, name="boxed", **folders, boxes_digest="a" * 64)
        registry.add(session, name="plain", root="/clips", annotations="/lists")
    told = {}
    for dataset in ("boxed", "plain", "motion_shapes"):
        submit(database, small_spec(dataset=dataset, **asked))
        with database.transaction() as session:
            query = select(StageRow).where(StageRow.kind == "localize", StageRow.key.not_in(told.keys()))
            row = session.scalars(query).one()
            told[row.key] = (row.params["boxes"], row.params["generator"] is not None)
    assert list(told.values()) == [({"path": "/boxes.pkl", "digest": "a" * 64}, False), (None, False), (None, True)]
