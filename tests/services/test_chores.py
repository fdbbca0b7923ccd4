from __future__ import annotations

from sqlalchemy import text

from services import chores
from services.db.engine import Database


def test_one_process_takes_a_turn_and_the_next_one_only_after_the_period(database: Database) -> None:
    assert [database.run(lambda session: chores.take(session, "sweep", 3600)) for _ in range(3)] == [True, False, False]
    assert database.run(lambda session: chores.take(session, "other", 3600))
    with database.transaction() as session:
        assert chores.age_seconds(session, "sweep") is None
        chores.done(session, "sweep")
    with database.transaction() as session:
        assert chores.age_seconds(session, "sweep") is not None
        session.execute(text("UPDATE chore SET began_at = began_at - interval '2 hours'"))
    assert database.run(lambda session: chores.take(session, "sweep", 3600))


def test_a_process_that_began_and_never_ended_costs_a_single_turn(database: Database) -> None:
    assert [database.run(lambda session: chores.take(session, "sweep", 3600)) for _ in range(2)] == [True, False]
    with database.transaction() as session:
        session.execute(text("UPDATE chore SET began_at = began_at - interval '1 hour'"))
    assert database.run(lambda session: chores.take(session, "sweep", 3600))


def test_a_clock_that_was_set_back_keeps_no_turn(database: Database) -> None:
    database.run(lambda session: chores.take(session, "sweep", 2))
    with database.transaction() as session:
        session.execute(text("UPDATE chore SET began_at = began_at + interval '1 day'"))
    assert database.run(lambda session: chores.take(session, "sweep", 2))
