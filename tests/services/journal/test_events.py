"""The events of an experiment, in an order that no late commit disturbs."""

from __future__ import annotations

from sqlalchemy import select

from services.db.engine import Database
from services.db.tables import ExperimentStageRow
from services.journal import events
from services.queue import experiments
from tests.services.conftest import Decreed, small_spec, submit


def test_events_come_in_order_and_go_on_after_a_position(database: Database) -> None:
    row = submit(database, small_spec()).row
    Decreed(database).run_all()
    with database.transaction() as session:
        everything = experiments.events_after(session, row.id, 0, 1000)
        rest = experiments.events_after(session, row.id, everything[3].id, 1000)
    types = [event.type for event in everything]
    assert types[0] == "experiment.queued"
    assert types[-1] == "experiment.succeeded"
    assert types.count("stage.succeeded") == 5
    assert [event.id for event in rest] == [event.id for event in everything[4:]]


def test_an_event_that_commits_late_is_not_missed(database: Database) -> None:
    row = submit(database, small_spec()).row
    with database.transaction() as slow:
        experiments.events.tell(slow, "late", experiment_id=row.id)
        slow.flush()
        with database.transaction() as quick:
            experiments.events.tell(quick, "early", experiment_id=row.id)
        with database.transaction() as session:
            seen = experiments.events_after(session, row.id, 0, 100)
        assert "early" not in [event.type for event in seen]
    with database.transaction() as session:
        rest = experiments.events_after(session, row.id, seen[-1].id, 100)
    assert {event.type for event in rest} == {"late", "early"}


def test_one_query_tells_each_experiment_what_it_would_be_told_alone(database: Database) -> None:
    rows = [submit(database, small_spec(seeds=(seed,))).row for seed in range(3)]
    ids = [row.id for row in rows]
    with database.transaction() as session:
        began = events.position(session)
        stage = session.scalar(select(ExperimentStageRow.stage_key).where(ExperimentStageRow.experiment_id == ids[1]))
    with database.transaction() as session:
        events.tell(session, "of the fleet")
        events.tell(session, "of one", experiment_id=ids[0])
        events.tell(session, "of both", experiment_id=ids[2], stage_key=stage)
    Decreed(database).run_all()
    with database.transaction() as session:
        until = events.position(session)
        found = events.since(session, ids[:2], began, until, 1000)
        alone = {id_: experiments.events_after(session, id_, began, 1000) for id_ in ids[:2]}
        assert events.since(session, ids[:2], began, until, 3) == found[:3]
        assert events.since(session, [], began, until, 1000) == []
        assert events.since(session, ids, until, until, 1000) == []
    for id_ in ids[:2]:
        assert [event for event, told in found if id_ in told] == alone[id_]
    assert [event.id for event, _ in found] == sorted({event.id for event, _ in found})
    assert {event.type for event, told in found if sorted(told) == sorted(ids[:2])} >= {"of the fleet"}
