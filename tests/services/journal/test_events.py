"""The events of an experiment, in an order that no late commit disturbs."""

from __future__ import annotations

from services.db.engine import Database
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
