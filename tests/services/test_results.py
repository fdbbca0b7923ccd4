"""What `fuse` stages measured becomes rows by stream, split and seed, and their means."""

from __future__ import annotations

import pytest

from services import results
from services.claim import Claim
from services.db.engine import Database
from services.db.tables import ResultRow
from tests.services.conftest import Decreed, result, small_spec, submit

RATES = {(1, 0): 0.5, (1, 1): 0.7, (2, 0): 0.8, (2, 1): 0.8, (3, 0): 0.9, (3, 1): 0.7}


def run(
    database: Database, splits: tuple[int, ...], categories: bool = True
) -> dict[tuple[int | None, int | None], ResultRow]:
    """Run an experiment with two seeds and return its rows by split and seed."""
    made = submit(database, small_spec(splits=splits, seeds=(0, 1))).row
    worker = Decreed(database)

    def end(claim: Claim) -> None:
        if claim.kind != "fuse":
            worker.succeed(claim)
            return
        split, seed = claim.params["split"], claim.params["seed"]
        entry = result("rgb", split, seed, RATES[split, seed])
        if categories:
            few = {"Sports": 1.0} if split == 1 else {}
            entry["per_category"] = {"Body-Motion Only": RATES[split, seed] / 2} | few
        worker.succeed(claim, results=[entry])

    worker.run_all(end)
    with database.transaction() as session:
        return {(row.split, row.seed): row for row in results.listing(session, made.id)}


def test_means_come_after_what_they_are_the_means_of(database: Database) -> None:
    rows = run(database, (1, 2, 3))
    assert [*rows] == [
        (1, 0), (1, 1), (1, None), (2, 0), (2, 1), (2, None), (3, 0), (3, 1), (3, None), (None, None),
    ]  # fmt: skip
    assert rows[1, 0].top1 == 0.5
    assert rows[1, None].top1 == pytest.approx(0.6)
    assert rows[None, None].top1 == pytest.approx((0.6 + 0.8 + 0.8) / 3)


def test_categories_are_averaged_as_the_others(database: Database) -> None:
    rows = run(database, (1, 2, 3))
    assert rows[1, 1].categories == {"Body-Motion Only": 0.35, "Sports": 1.0}
    assert rows[1, None].categories == pytest.approx({"Body-Motion Only": 0.3, "Sports": 1.0})
    assert rows[2, None].categories == pytest.approx({"Body-Motion Only": 0.4})
    assert rows[None, None].categories == pytest.approx({"Body-Motion Only": 2.2 / 6})  # split 1 alone has sports


def test_a_mean_that_lacks_a_split_has_none(database: Database) -> None:
    rows = run(database, (1, 3))
    assert (rows[None, None].categories, rows[None, None].missing_splits) == (None, [2])


def test_results_of_other_datasets_have_no_categories(database: Database) -> None:
    assert {str(row.categories) for row in run(database, (1, 2, 3), categories=False).values()} == {"{}"}
