"""What MLflow is to hear is written with each fact, once."""

from __future__ import annotations

from sqlalchemy import select

from services.db.engine import Database
from services.db.tables import OutboxRow, StageRow
from services.errors import Cause
from services.queue import attempts, experiments
from services.queue.attempts import Fact
from tests.services.conftest import Decreed, small_spec, submit


def test_mlflow_hears_of_reused_stages_under_the_parent(database: Database) -> None:
    submit(database, small_spec())
    second = submit(database, small_spec(name="second")).row
    with database.transaction() as session:
        rows = session.scalars(select(OutboxRow).where(OutboxRow.experiment_id == second.id)).all()
        keys = session.scalars(select(StageRow.key)).all()
    tags = [name for row in rows for name in row.data.get("tags", {}) if name.startswith("reused.")]
    assert len(tags) == len(keys)


def test_points_of_a_resumed_epoch_are_told_once(database: Database) -> None:
    worker = Decreed(database)
    row = submit(database, small_spec()).row
    for attempt_epochs in ((1, 2), (2, 3)):
        claim = worker.claim("cpu")
        assert claim is not None
        facts = [
            Fact("metrics", 1000 * epoch, {"step": epoch, "values": {"train_loss": 1 / epoch}})
            for epoch in attempt_epochs
        ]
        with database.transaction() as session:
            attempts.record(session, claim.key, claim.attempt, facts)
        worker.fail(claim, Cause.PREEMPTED)
    with database.transaction() as session:
        steps = session.scalars(select(OutboxRow.step).where(OutboxRow.kind == "metric").order_by(OutboxRow.step)).all()
        told = [
            event.data["step"] for event in experiments.events_after(session, row.id, 0, 100) if "step" in event.data
        ]
    assert steps == [1, 2, 3]
    assert told == [1, 2, 3]
