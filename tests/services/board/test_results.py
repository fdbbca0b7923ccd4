"""What `fuse` stages measured becomes rows by stream, split and seed, and their means."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from services.board import results
from services.db.engine import Database
from services.db.tables import DatasetRevisionRow, ResultRow
from services.queue.claim import Claim
from services.statistics import SplitRate, effective_clips, wilson
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


def collected(
    database: Database,
    made: Callable[[int, int], list[dict[str, Any]]],
    splits: tuple[int, ...],
    seeds: tuple[int, ...],
) -> dict[tuple[int | None, int | None], ResultRow]:
    """Run an experiment whose `fuse` stages report what ``made`` says of a split and a seed."""
    row = submit(database, small_spec(splits=splits, seeds=seeds)).row
    worker = Decreed(database)
    worker.run_all(
        lambda claim: worker.succeed(
            claim, results=made(claim.params["split"], claim.params["seed"]) if claim.kind == "fuse" else []
        )
    )
    with database.transaction() as session:
        return {(row.split, row.seed): row for row in results.listing(session, row.id)}


def know(database: Database, shared: list[dict[str, int]] | None, splits: tuple[int, ...] = (1, 2)) -> None:
    """Say which clips the test sets have in common, and which splits there are."""
    with database.transaction() as session:
        row = session.get_one(DatasetRevisionRow, ("motion_shapes", 1))
        row.shared, row.splits = shared, list(splits)


SHARED = [{"1": place, "2": 9 - place} for place in range(5)]
"""Of ten clips in each of two test sets, five are in both."""
HITS = {1: [1, 1, 0, 1, 0, 1, 1, 1, 0, 1], 2: [1, 0, 1, 1, 1, 0, 1, 0, 1, 1]}


def of_hits(split: int, seed: int) -> list[dict[str, Any]]:
    entry = result("rgb", split, seed, sum(HITS[split]) / 10, clips=10)
    return [entry | {"hits": base64.b64encode(np.packbits(np.array(HITS[split], bool)).tobytes()).decode()}]


def test_a_clip_that_two_splits_test_on_is_one_clip(database: Database) -> None:
    know(database, SHARED)
    mean = collected(database, of_hits, (1, 2), (0,))[None, None]
    assert (mean.top1, mean.clips) == (0.7, 15)
    places = [{int(split): place for split, place in found.items()} for found in SHARED]
    clips = effective_clips({split: SplitRate(0.7, 10, hits) for split, hits in HITS.items()}, places)
    assert clips < 15
    assert (mean.lower, mean.upper) == pytest.approx(wilson(0.7, clips))


def test_hits_that_nobody_reported_count_as_alike(database: Database) -> None:
    """As earlier `fuse` stages left them: the interval is then the widest that the overlap allows."""
    know(database, SHARED)
    mean = collected(database, lambda split, seed: [result("rgb", split, seed, 0.7, clips=10)], (1, 2), (0,))[
        None, None
    ]
    weights = np.array([2] * 5 + [1] * 10) / 20
    assert (mean.lower, mean.upper) == pytest.approx(wilson(0.7, 1 / (weights**2).sum()))


@pytest.mark.parametrize("shared", [None, [{"1": 3, "2": 10}]])
def test_an_overlap_that_is_not_known_or_does_not_fit_gives_no_interval(
    database: Database, shared: list[dict[str, int]] | None
) -> None:
    know(database, shared)
    rows = collected(database, of_hits, (1, 2), (0,))
    mean = rows[None, None]
    assert (mean.top1, mean.clips, mean.lower, mean.upper) == (0.7, None, None, None)
    assert rows[1, None].lower == pytest.approx(wilson(0.7, 10)[0])


def test_a_dataset_of_one_split_has_nothing_in_common(database: Database) -> None:
    know(database, None, splits=(1,))
    mean = collected(database, of_hits, (1,), (0,))[None, None]
    assert (mean.clips, mean.lower) == (10, pytest.approx(wilson(0.7, 10)[0]))


def test_lists_that_the_dataset_does_not_use_count_nothing(database: Database) -> None:
    """A third split has lists, and clips of the others, but is none of the dataset's."""
    know(database, [{"1": 0, "3": 4}, {"1": 1, "2": 1, "3": 5}])
    assert collected(database, of_hits, (1, 2), (0,))[None, None].clips == 19


def test_a_split_that_lacks_a_seed_of_the_others_is_missing(database: Database) -> None:
    know(database, [])
    rows = collected(
        database, lambda split, seed: [] if (split, seed) == (2, 1) else of_hits(split, seed), (1, 2), (0, 1)
    )
    mean = rows[None, None]
    assert (mean.top1, mean.missing_splits) == (None, [2])
    assert rows[2, None].seeds == 1


def test_several_seeds_have_the_deviation_of_their_means(database: Database) -> None:
    assert run(database, (1, 2, 3))[None, None].spread == pytest.approx(
        np.std([np.mean([0.5, 0.8, 0.9]), np.mean([0.7, 0.8, 0.7])], ddof=1)
    )


def test_one_seed_has_no_deviation(database: Database) -> None:
    know(database, [])
    rows = collected(database, of_hits, (1, 2), (0,))
    assert {row.spread for row in rows.values()} == {None}
