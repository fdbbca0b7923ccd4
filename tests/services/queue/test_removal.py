"""Deleting: what goes, what stays, who is in the way, and who comes too late."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from sqlalchemy import func, select

from services.api_keys import ADMINISTRATOR, Caller
from services.board.version import version
from services.db.engine import Database
from services.db.tables import (
    EventRow,
    ExperimentNeedRow,
    ExperimentRow,
    ExperimentStageRow,
    OutboxRow,
    ResultRow,
    StageRow,
)
from services.errors import Conflict, Forbidden, InvalidRequest, NotFound
from services.planning import submission
from services.queue import experiments, removal
from services.specs import EnsembleSpec, MemberSpec
from services.specs.weights import NetworkWeights
from tests.databases import wait_for_waiters
from tests.services.actors import Actor
from tests.services.conftest import Decreed, small_spec, submit

ANA, BEN = Caller("ana"), Caller("ben")


@pytest.fixture
def made(database: Database) -> str:
    id_ = submit(database, small_spec(), owner="ana", idempotency_key="k").row.id
    Decreed(database).run_all()
    return id_


@pytest.fixture
def rival(database: Database, database_url: str) -> Iterator[Actor]:
    actor = Actor(database_url, database, "rival")
    yield actor
    actor.close()


def delete(database: Database, id_: str, caller: Caller = ANA) -> None:
    database.run(lambda session: removal.delete(session, id_, caller))


def ensemble_of(*ids: str) -> EnsembleSpec:
    members = tuple(MemberSpec(experiment=id_, stream="rgb") for id_ in ids)
    return EnsembleSpec(name="both", dataset="motion_shapes", splits=(1,), members=members)


def test_results_and_events_go_and_stages_stay(database: Database, made: str) -> None:
    with database.transaction() as session:
        before, stages = version(session, "motion_shapes"), session.scalar(select(func.count()).select_from(StageRow))
    delete(database, made)
    with database.transaction() as session:
        for table in (ExperimentRow, ExperimentStageRow, ResultRow):
            assert session.scalar(select(func.count()).select_from(table)) == 0
        assert not session.scalars(select(EventRow.id).where(EventRow.experiment_id == made)).all()
        assert {row.state for row in session.scalars(select(StageRow))} == {"succeeded"}
        assert session.scalar(select(func.count()).select_from(StageRow)) == stages
        assert version(session, "motion_shapes") != before
        row = session.scalars(select(OutboxRow).where(OutboxRow.experiment_id.is_(None), OutboxRow.stage_key.is_(None)))
        assert [(entry.kind, entry.name) for entry in row] == [("forget", made)]
    again = submit(database, small_spec(), owner="ben").row
    assert (again.state, again.reused_stages) == ("succeeded", again.total_stages)


def test_the_id_is_answered_with_who_deleted_it(database: Database, made: str) -> None:
    delete(database, made, ADMINISTRATOR)
    for ask in (
        lambda session: experiments.get(session, made),
        lambda session: experiments.cancel(session, made, ANA),
        lambda session: removal.delete(session, made, ANA),
    ):
        with pytest.raises(NotFound, match="'small' was deleted by administrator at 2"):
            database.run(ask)


def test_the_key_of_a_deleted_experiment_makes_no_other(database: Database, made: str) -> None:
    delete(database, made)
    with pytest.raises(Conflict, match=f"'k' was used for experiment {made}, which was deleted"):
        submit(database, small_spec(), owner="ana", idempotency_key="k")
    assert submit(database, small_spec(), owner="ben", idempotency_key="k").created


@pytest.mark.parametrize("state", ["queued", "running", "cancelling"])
def test_one_that_has_not_finished_is_cancelled_first(database: Database, state: str) -> None:
    id_ = submit(database, small_spec(), owner="ana").row.id
    if state != "queued":
        assert Decreed(database).claim_any() is not None
    if state == "cancelling":
        database.run(lambda session: experiments.cancel(session, id_, ANA))
    with pytest.raises(Conflict, match=f"cannot be deleted: it is {state}; hint: cancel it first"):
        delete(database, id_)


def test_a_stage_that_runs_for_another_goes_on(database: Database) -> None:
    first = submit(database, small_spec(), owner="ana").row.id
    second = submit(database, small_spec(name="second"), owner="ben").row.id
    worker = Decreed(database)
    claim = worker.claim_any()
    assert claim is not None
    database.run(lambda session: experiments.cancel(session, first, ANA))
    delete(database, first)
    worker.succeed(claim)
    worker.run_all()
    with database.transaction() as session:
        assert experiments.get(session, second).state == "succeeded"


def test_only_the_owner_and_the_administrator_may(database: Database, made: str) -> None:
    with pytest.raises(Forbidden, match="belongs to 'ana'"):
        delete(database, made, BEN)
    delete(database, made, ADMINISTRATOR)


def test_what_ensembles_have_as_members_is_deleted_after_them(database: Database, made: str) -> None:
    other = submit(database, small_spec(name="other", seeds=(1, 0)), owner="ana").row.id
    Decreed(database).run_all()
    both = submit(database, ensemble_of(made, other), owner="ben").row.id
    with pytest.raises(Conflict, match=rf"cannot be deleted: needed by both \({both}\); hint: delete those first"):
        delete(database, made)
    database.run(lambda session: experiments.cancel(session, both, BEN))
    with pytest.raises(Conflict, match="needed by both"):
        delete(database, other)
    delete(database, both, BEN)
    delete(database, made)
    delete(database, other)


def test_what_others_start_from_is_deleted_after_them(database: Database, made: str) -> None:
    for number in range(removal.NAMED + 1):
        model = small_spec().model.model_copy(update={"weights": NetworkWeights(experiment=made)})
        submit(database, small_spec(name=f"from {number}", model=model, seeds=(number,)), owner="ben")
    with pytest.raises(Conflict, match=r"needed by from 0 \(exp_\w+\), .*from 4 \(exp_\w+\) and more; hint"):
        delete(database, made)


def test_who_names_it_while_it_is_deleted_finds_it_gone(database: Database, made: str, rival: Actor) -> None:
    other = submit(database, small_spec(name="other", seeds=(1, 0)), owner="ana").row.id
    Decreed(database).run_all()
    rival.begin(lambda database: delete(database, made))
    rival.step()  # it has locked the experiment
    found: list[BaseException] = []

    def name() -> None:
        try:
            submit(database, ensemble_of(made, other), owner="ben")
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=name)
    thread.start()
    wait_for_waiters(database, going=thread.is_alive)
    rival.set_free()
    rival.result()
    thread.join()
    assert isinstance(found[0], InvalidRequest)
    assert found[0].field == "members.0.experiment"


def test_who_deletes_it_while_it_is_named_is_told_by_whom(database: Database, made: str, rival: Actor) -> None:
    other = submit(database, small_spec(name="other", seeds=(1, 0)), owner="ana").row.id
    Decreed(database).run_all()

    def name(database: Database) -> str:
        with database.transaction() as session:
            return submission.submit(session, ensemble_of(made, other), owner="ben", body_digest="0" * 64).row.id

    rival.begin(name)
    rival.step()
    rival.step()  # it has locked what it names
    found: list[BaseException] = []

    def remove() -> None:
        try:
            delete(database, made)
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=remove)
    thread.start()
    rival.set_free()
    both = rival.result()
    thread.join()
    assert isinstance(found[0], Conflict)
    assert both in str(found[0])
    with database.transaction() as session:
        assert {row.needed_id for row in session.scalars(select(ExperimentNeedRow))} == {made, other}
