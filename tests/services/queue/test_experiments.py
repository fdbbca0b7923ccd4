from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from services.api_keys import ADMINISTRATOR, LOCAL, Caller
from services.db.engine import Database
from services.errors import Cause, Conflict, Forbidden, InvalidRequest, NotFound
from services.queue import experiments, graph
from tests.databases import wait_for_waiters
from tests.services.conftest import Decreed, small_spec, stage_states, state_of, submit


def test_an_experiment_runs_stage_after_stage_to_its_results(database: Database) -> None:
    created = submit(database, small_spec())
    assert created.row.state == "queued"
    assert created.queues == {"cpu": 1}
    labels = [label.split()[0] for label in Decreed(database).run_all()]
    assert labels == ["index", "extract", "train", "score", "fuse"]
    assert state_of(database, created.row.id) == "succeeded"


def test_equal_work_is_shared_and_its_results_copied(database: Database) -> None:
    first = submit(database, small_spec(name="first"))
    Decreed(database).run_all()
    second = submit(database, small_spec(name="second"))
    assert second.row.reused_stages == second.row.total_stages == first.row.total_stages
    assert second.queues == {}
    assert state_of(database, second.row.id) == "succeeded"
    with database.transaction() as session:
        assert all(view.reused for view in experiments.stages(session, second.row.id))


def test_a_stage_that_runs_is_shared_too(database: Database) -> None:
    worker = Decreed(database)
    submit(database, small_spec())
    claim = worker.claim("cpu")
    second = submit(database, small_spec(name="second"))
    assert worker.claim("cpu") is None
    assert claim is not None
    worker.succeed(claim)
    worker.run_all()
    assert state_of(database, second.row.id) == "succeeded"


def test_the_same_key_gives_the_same_experiment(database: Database) -> None:
    first = submit(database, small_spec(), idempotency_key="k")
    again = submit(database, small_spec(), idempotency_key="k")
    assert again.row.id == first.row.id
    assert not again.created
    with pytest.raises(Conflict, match="another body"):
        submit(database, small_spec(), idempotency_key="k", body_digest="1" * 64)
    assert submit(database, small_spec(), idempotency_key="k", owner="other").created


def test_an_unknown_dataset_or_split_is_named(database: Database) -> None:
    with pytest.raises(InvalidRequest, match=r"dataset: got 'ucf9', allowed: motion_shapes"):
        submit(database, small_spec(dataset="ucf9"))
    with database.transaction() as session:
        assert experiments.page(session).items == []


def test_cancel_before_and_after_the_end(database: Database) -> None:
    row = submit(database, small_spec()).row
    with database.transaction() as session:
        assert experiments.cancel(session, row.id, LOCAL).state == "cancelled"
    assert set(stage_states(database, row.id).values()) == {"cancelled"}
    with database.transaction() as session, pytest.raises(Conflict, match="it has cancelled"):
        experiments.cancel(session, row.id, LOCAL)
    with database.transaction() as session, pytest.raises(NotFound):
        experiments.cancel(session, "exp_none", LOCAL)


def test_only_its_owner_or_the_administrator_ends_and_retries_an_experiment(database: Database) -> None:
    row = submit(database, small_spec(), owner="ana").row
    for action in (experiments.cancel, experiments.retry):
        with database.transaction() as session, pytest.raises(Forbidden, match=f"{row.id} belongs to 'ana'"):
            action(session, row.id, Caller("eve"))
    assert state_of(database, row.id) == "queued"
    for caller in (Caller("ana"), ADMINISTRATOR, LOCAL):
        with database.transaction() as session:
            assert experiments.cancel(session, row.id, caller).state == "cancelled"
        with database.transaction() as session:
            assert experiments.retry(session, row.id, caller).queues == {"cpu": 1}


def test_cancel_of_a_running_stage_waits_for_its_worker(database: Database) -> None:
    worker = Decreed(database)
    row = submit(database, small_spec()).row
    claim = worker.claim("cpu")
    assert claim is not None
    with database.transaction() as session:
        assert experiments.cancel(session, row.id, LOCAL).state == "cancelling"
    worker.fail(claim, Cause.CANCELLED)
    assert state_of(database, row.id) == "cancelled"
    assert worker.claim_any() is None


def test_cancel_leaves_what_another_experiment_needs(database: Database) -> None:
    worker = Decreed(database)
    first, second = submit(database, small_spec()).row, submit(database, small_spec(name="second")).row
    claim = worker.claim("cpu")
    with database.transaction() as session:
        assert experiments.cancel(session, first.id, LOCAL).state == "cancelled"
    assert claim is not None
    worker.succeed(claim)
    worker.run_all()
    assert state_of(database, second.id) == "succeeded"


def test_a_stage_cancelled_while_a_new_experiment_needs_it_runs_again(database: Database) -> None:
    worker = Decreed(database)
    first = submit(database, small_spec()).row
    claim = worker.claim("cpu")
    assert claim is not None
    with database.transaction() as session:
        experiments.cancel(session, first.id, LOCAL)
    second = submit(database, small_spec(name="second")).row
    worker.fail(claim, Cause.CANCELLED)
    assert worker.run_all()
    assert state_of(database, second.id) == "succeeded"
    assert state_of(database, first.id) == "cancelled"


def while_retried(database: Database, experiment: str, act: Callable[[], object]) -> None:
    """Retry an experiment, and commit once another transaction waits for the rows."""
    thread = threading.Thread(target=act)
    with database.transaction() as session:
        experiments.retry(session, experiment, LOCAL)
        thread.start()
        wait_for_waiters(database, going=thread.is_alive)
    thread.join()


@pytest.fixture
def twice(database: Database) -> tuple[str, str]:
    """A cancelled experiment, and a live one that needs the same stages."""
    cancelled, live = submit(database, small_spec()).row.id, submit(database, small_spec()).row.id
    with database.transaction() as session:
        experiments.cancel(session, cancelled, LOCAL)
    return cancelled, live


def test_a_cancel_leaves_what_is_just_being_retried(database: Database, twice: tuple[str, str]) -> None:
    cancelled, live = twice

    def cancel() -> None:
        with database.transaction() as session:
            experiments.cancel(session, live, LOCAL)

    while_retried(database, cancelled, cancel)
    with database.transaction() as session:
        assert [view.row.state for view in experiments.stages(session, cancelled)] == ["ready"] + 4 * ["waiting"]
        assert experiments.get(session, live).state == "cancelled"


def test_a_stage_that_was_cancelled_runs_again_for_who_is_just_being_retried(
    database: Database, twice: tuple[str, str]
) -> None:
    cancelled, live = twice
    worker = Decreed(database)
    claim = worker.claim("cpu")
    assert claim is not None
    with database.transaction() as session:
        experiments.cancel(session, live, LOCAL)
    while_retried(database, cancelled, lambda: worker.fail(claim, Cause.CANCELLED))
    with database.transaction() as session:
        graph.settle_leftovers(session)
        assert experiments.stages(session, cancelled)[0].row.state == "ready"
        assert experiments.get(session, cancelled).state == "queued"
        assert experiments.get(session, live).state == "cancelled"


def test_who_is_retried_when_its_stage_fails_is_told_why(database: Database, twice: tuple[str, str]) -> None:
    cancelled, live = twice
    worker = Decreed(database)
    claim = worker.claim("cpu")
    assert claim is not None
    while_retried(database, cancelled, lambda: worker.fail(claim, Cause.DATA_ERROR, "no clip"))
    with database.transaction() as session:
        graph.settle_leftovers(session)
    with database.transaction() as session:
        for experiment in (experiments.get(session, name) for name in (cancelled, live)):
            assert (experiment.state, experiment.cause) == ("failed", Cause.DATA_ERROR)
            assert experiment.message == "index motion_shapes: no clip"


def test_retry_runs_what_failed_and_keeps_what_succeeded(database: Database) -> None:
    worker = Decreed(database)
    row = submit(database, small_spec()).row
    worker.run_all(
        lambda claim: worker.fail(claim, Cause.USER_ERROR) if claim.kind == "train" else worker.succeed(claim)
    )
    with database.transaction() as session:
        retried = experiments.retry(session, row.id, LOCAL)
    assert retried.queues == {"gpu": 1}
    assert [label.split()[0] for label in worker.run_all()] == ["train", "score", "fuse"]
    assert state_of(database, row.id) == "succeeded"
    with database.transaction() as session, pytest.raises(Conflict, match="it is succeeded"):
        experiments.retry(session, row.id, LOCAL)


def test_pages_go_on_where_the_one_before_ended(database: Database) -> None:
    ids = [submit(database, small_spec(name=f"e{number}")).row.id for number in range(5)]
    seen, cursor = [], None
    while True:
        with database.transaction() as session:
            page = experiments.page(session, limit=2, cursor=cursor)
        seen += [row.id for row in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == ids[::-1]
    for count_to, total in ((None, 5), (0, 0), (3, 3), (9, 5)):
        with database.transaction() as session:
            assert experiments.page(session, limit=2, count_to=count_to).total == total
    for cursor in ("nonsense", "e30=", "WzEsMl0="):
        with database.transaction() as session, pytest.raises(InvalidRequest, match="cursor"):
            experiments.page(session, cursor=cursor)
