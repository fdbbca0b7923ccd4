"""How it stands with MLflow, as Postgres says."""

from __future__ import annotations

from services.db.engine import Database
from services.journal import tracker_state
from tests.services.conftest import small_spec, submit
from tests.services.tracking.conftest import told


def test_before_anything_was_sent_all_is_well_and_what_waits_is_counted(database: Database) -> None:
    submit(database, small_spec())
    with database.transaction() as session:
        found = tracker_state.view(session)
    assert (found.state, found.since, found.last_success_at) == ("ok", None, None)
    assert found.waiting > 0
    assert found.oldest_at is not None


def test_a_hold_and_its_end_are_told_once_each(database: Database) -> None:
    for message in ("away", "still away"):
        with database.transaction() as session:
            tracker_state.hold(session, message)
    with database.transaction() as session:
        found = tracker_state.view(session)
    assert (found.state, found.message) == ("held", "still away")
    for _ in range(2):
        with database.transaction() as session:
            tracker_state.succeed(session)
    with database.transaction() as session:
        found = tracker_state.view(session)
    assert (found.state, found.message) == ("ok", None)
    assert found.last_success_at is not None
    assert [len(told(database, f"mlflow.{name}")) for name in ("held", "resumed")] == [1, 1]


def test_the_folders_of_runs_are_remembered_by_dataset(database: Database) -> None:
    with database.transaction() as session:
        assert tracker_state.folders(session) == {}
        tracker_state.remember_folder(session, "ucf101", "7")
        tracker_state.remember_folder(session, "hmdb51", "8")
    with database.transaction() as session:
        tracker_state.remember_folder(session, "ucf101", "9")
        tracker_state.remember_folder(session, "hmdb51", None)
    with database.transaction() as session:
        assert tracker_state.folders(session) == {"ucf101": "9"}
