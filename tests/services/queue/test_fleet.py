"""The fleet at one moment."""

from __future__ import annotations

from services.db.engine import Database
from services.queue.fleet import census
from tests.services.conftest import Decreed, report, small_spec, submit


def test_everything_is_counted_by_its_state(database: Database) -> None:
    submit(database, small_spec())
    report(database, "well")
    report(database, "full", draining="the disk is full")
    claim = Decreed(database).claim("cpu")
    assert claim is not None
    with database.transaction() as session:
        found = census(session)
    assert found.sweep_age_seconds is None
    assert found.experiments == {"running": 1}
    assert found.stages == {("cpu", "running"): 1, ("cpu", "waiting"): 1, ("gpu", "waiting"): 3}
    assert found.workers == {"alive": 1, "draining": 1}
    assert found.tracker.waiting > 0
    assert found.untold_seconds >= 0
