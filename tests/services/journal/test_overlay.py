"""Curves of several experiments laid over each other: means over splits and seeds, by stream."""

from __future__ import annotations

from services.db.engine import Database
from services.journal import overlay
from services.queue import attempts
from services.queue.attempts import Fact
from services.queue.claim import Claim
from tests.services.conftest import Decreed, small_spec, submit


def trained(database: Database, losses: dict[tuple[int, int], list[float]], **changes: object) -> str:
    """Run an experiment whose networks have losses by split and seed, and return its id."""
    row = submit(database, small_spec(**changes)).row
    worker = Decreed(database)

    def end(claim: Claim) -> None:
        if claim.kind == "train":
            values = losses[claim.params["split"], claim.params["seed"]]
            facts = [
                Fact("metrics", epoch, {"step": epoch, "values": {"train_loss": value}})
                for epoch, value in enumerate(values, 1)
            ]
            with database.transaction() as session:
                attempts.record(session, claim.key, claim.attempt, facts)
        worker.succeed(claim)

    worker.run_all(end)
    return row.id


def test_a_curve_is_the_mean_over_the_splits_and_seeds_of_an_experiment(database: Database) -> None:
    one = trained(
        database,
        {(1, 0): [4.0, 2.0, 1.0], (1, 1): [2.0, 2.0, 1.0], (2, 0): [3.0, 2.0], (2, 1): [3.0, 2.0, 1.0]},
        splits=(1, 2),
        seeds=(0, 1),
    )
    other = trained(database, {(1, 7): [8.0, 6.0]}, seeds=(7,))
    names = {one: "A: one", other: "B: other"}
    with database.transaction() as session:
        found = overlay.laid_over(session, names)
        first = overlay.laid_over(session, names, stream="rgb", split=1)
        none = overlay.laid_over(session, names, stream="flow")
    assert list(found) == ["rgb"]
    assert [(curve.stage, curve.epochs, curve.values) for curve in found["rgb"]] == [
        ("A: one", (1, 2), (3.0, 2.0)),
        ("B: other", (1, 2), (8.0, 6.0)),
    ]
    assert [curve.values for curve in first["rgb"]] == [(3.0, 2.0, 1.0), (8.0, 6.0)]
    assert none == {}
