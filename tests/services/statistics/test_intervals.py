"""Intervals hold what they promise, also where test sets overlap as HMDB51's do."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import combinations

import numpy as np
import pytest

from services.statistics.intervals import SplitRate, distinct_clips, effective_clips, wilson

PER_SET = 1530
IN_TWO = {(1, 2): 104 - 38, (1, 3): 126 - 38, (2, 3): 155 - 38}
IN_THREE = 38
"""HMDB51's official lists: 104, 126 and 155 clips in two test sets, of which 38 are in all three."""
DRAWS = 1000


def hmdb51_like() -> tuple[np.ndarray, list[dict[int, int]]]:
    """Three test sets as rows of clip numbers, and the places of the shared clips in them."""
    rows: dict[int, list[int]] = {1: [], 2: [], 3: []}
    shared, clip = [], 0
    for splits, count in [((1, 2, 3), IN_THREE), *IN_TWO.items()]:
        for _ in range(count):
            shared.append({split: len(rows[split]) for split in splits})
            for split in splits:
                rows[split].append(clip)
            clip += 1
    for row in rows.values():
        alone = PER_SET - len(row)
        row.extend(range(clip, clip + alone))
        clip += alone
    return np.array([rows[1], rows[2], rows[3]]), shared


def outcomes(related: float, seed: int, draws: int = DRAWS) -> Iterator[np.ndarray]:
    """Yield draws of hits (3, 1530): a clip is as hard for each network as ``related`` (0 to 1) says."""
    places, _ = hmdb51_like()
    rng = np.random.default_rng(seed)
    for _ in range(draws):
        hard = rng.standard_normal(places.max() + 1, np.float32)[places] * math.sqrt(related)
        yield hard + rng.standard_normal(places.shape, np.float32) * math.sqrt(1 - related) < [[0.25], [0.3], [0.2]]


def sets_of(hits: np.ndarray) -> dict[int, SplitRate]:
    return {split: SplitRate(float(row.mean()), PER_SET, row.tolist()) for split, row in enumerate(hits, 1)}


def normal(value: float) -> float:
    return (1 + math.erf(value / math.sqrt(2))) / 2


def test_the_overlap_of_hmdb51_is_counted() -> None:
    places, shared = hmdb51_like()
    sets = {split: SplitRate(0.5, PER_SET) for split in (1, 2, 3)}
    assert [len(np.intersect1d(a, b)) for a, b in combinations(places, 2)] == [104, 126, 155]
    assert distinct_clips(dict.fromkeys(sets, PER_SET), shared) == 4243
    weights = np.unique(places, return_counts=True)[1] / (3 * PER_SET)
    assert effective_clips(sets, shared) == pytest.approx(1 / (weights**2).sum())  # Kish's number, 3930.6


@pytest.mark.parametrize("related", [0.0, 0.6, 1.0])
def test_the_interval_of_the_mean_covers_as_often_as_it_says(related: float) -> None:
    """95 % within four standard errors from below; above, for clips whose outcomes have nothing to do with each other,
    the number of distinct clips bounds what they tell, which is a little too careful."""
    _, shared = hmdb51_like()
    true = sum(map(normal, (0.25, 0.3, 0.2))) / 3
    covered = 0
    for hits in outcomes(related, seed=7):
        lower, upper = wilson(float(hits.mean()), effective_clips(sets_of(hits), shared))
        covered += lower <= true <= upper
    error = math.sqrt(0.95 * 0.05 / DRAWS)
    assert 0.95 - 4 * error < covered / DRAWS < 0.96 + 4 * error


def test_places_counted_as_clips_give_too_narrow_an_interval() -> None:
    """The interval before: 4,590 places as if they were as many clips."""
    _, shared = hmdb51_like()
    draws = 6000
    drawn = list(outcomes(1.0, seed=11, draws=draws))
    rates = np.array([hits.mean() for hits in drawn])
    effective = float(np.mean([effective_clips(sets_of(hits), shared) for hits in drawn[:200]]))
    rate, spread = float(rates.mean()), float(rates.std())
    naive, ours = (math.sqrt(rate * (1 - rate) / clips) for clips in (3 * PER_SET, effective))
    error = spread / math.sqrt(2 * draws)
    assert spread - naive > 5 * error
    assert abs(spread - ours) < 4 * error


def test_disjoint_sets_are_as_good_as_one_large_one() -> None:
    sets = {split: SplitRate(0.7, 100) for split in (1, 2, 3)}
    assert effective_clips(sets, []) == pytest.approx(300)
    assert effective_clips({1: SplitRate(0.7, 100)}, []) == pytest.approx(100)


def test_equal_sets_are_as_good_as_one_of_them() -> None:
    """Two splits that test on the same clips with the same outcome tell what one of them tells."""
    hits = [1.0] * 30 + [0.0] * 10
    shared = [{1: place, 2: place} for place in range(40)]
    sets = {split: SplitRate(0.75, 40, hits) for split in (1, 2)}
    assert effective_clips(sets, shared) == pytest.approx(40)
    assert distinct_clips({1: 40, 2: 40}, shared) == 40


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_a_rate_without_variance_still_knows_its_clips(rate: float) -> None:
    shared = [{1: place, 2: place} for place in range(40)]
    sets = {split: SplitRate(rate, 40, [rate] * 40) for split in (1, 2)}
    assert effective_clips(sets, shared) == pytest.approx(40)


def test_wilson_interval_against_published_values() -> None:
    # Newcombe, Statistics in Medicine 17 (1998), table I, method 3: 81/263, 15/148, 0/20, 1/29
    for hits, clips, lower, upper in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        assert wilson(hits / clips, clips) == (pytest.approx(lower, abs=5e-5), pytest.approx(upper, abs=5e-5))
