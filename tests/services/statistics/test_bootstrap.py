"""The bootstrap against SciPy's, and against simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import bootstrap as reference

from services.statistics import bootstrap
from services.statistics.paired import mcnemar

CLIPS, DRAWS = 400, 1000


def test_the_interval_of_a_rate_is_scipys() -> None:
    hits = np.random.default_rng(3).random(CLIPS) < 0.8
    rows = np.stack([hits, np.ones(CLIPS)], axis=1).astype(float)
    sums = bootstrap.resampled(rows, draws=10_000)
    expected = reference((hits.astype(float),), np.mean, n_resamples=10_000, method="percentile", rng=1)
    np.testing.assert_allclose(
        bootstrap.interval(sums[:, 0] / sums[:, 1]),
        (expected.confidence_interval.low, expected.confidence_interval.high),
        atol=3e-3,
    )


def test_counts_of_few_distinct_rows_and_single_units_are_drawn_alike() -> None:
    rows = np.random.default_rng(5).integers(0, 3, size=(CLIPS, 2)).astype(float)
    few, single = bootstrap.resampled(rows, 4000), bootstrap.resampled(rows, 4000, alike=True)
    assert few.mean(axis=0) == pytest.approx(rows.sum(axis=0), rel=0.005)
    np.testing.assert_allclose(few.mean(axis=0), single.mean(axis=0), rtol=0.005)
    np.testing.assert_allclose(np.cov(few.T), np.cov(single.T), rtol=0.12, atol=15)


def test_many_units_are_drawn_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(6).random((100, 3))
    whole = bootstrap.resampled(rows, 50)
    monkeypatch.setattr(bootstrap, "CELLS", 700)
    np.testing.assert_allclose(bootstrap.resampled(rows, 50), whole)


def test_clips_of_one_group_are_no_independent_samples() -> None:
    """Ten clips of a group with one outcome: the interval is as wide as that of the groups."""
    groups = np.arange(CLIPS) // 10
    hits = (np.random.default_rng(8).random(CLIPS // 10) < 0.7).astype(float)[groups]
    values = np.stack([hits, np.ones(CLIPS)], axis=1)
    widths = []
    for units, count in ((np.arange(CLIPS), CLIPS), (groups, CLIPS // 10)):
        sums = bootstrap.resampled(bootstrap.sums(units, values, count))
        lower, upper = bootstrap.interval(sums[:, 0] / sums[:, 1])
        widths.append(upper - lower)
    assert widths[1] / widths[0] == pytest.approx(math.sqrt(10), rel=0.1)


def equal_systems(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Hits (DRAWS, CLIPS) of two systems that are equally good, of which a clip is as hard for both to some part."""
    rng = np.random.default_rng(seed)
    hard = rng.standard_normal((DRAWS, CLIPS), np.float32)
    left, right = (hard + rng.standard_normal((DRAWS, CLIPS), np.float32) < 1.0 for _ in range(2))
    return left, right


def test_mcnemar_errs_at_five_percent_at_the_most() -> None:
    """Exact: with some 120 clips that tell the systems apart it errs in 5 % at the most, and not much less."""
    left, right = equal_systems(11)
    p = mcnemar((left & ~right).sum(axis=1), (~left & right).sum(axis=1))
    alarms, error = float((p <= 0.05).mean()), math.sqrt(0.05 * 0.95 / DRAWS)
    assert 0.02 < alarms < 0.05 + 3 * error


def test_the_interval_of_a_difference_errs_at_five_percent() -> None:
    """All draws share their units: one bootstrap is that of all."""
    left, right = equal_systems(13)
    differences = right.astype(float).T - left.T
    samples = bootstrap.resampled(differences, alike=True) / CLIPS
    lower, upper = np.percentile(samples, [2.5, 97.5], axis=0)
    alarms, error = float(((lower > 0) | (upper < 0)).mean()), math.sqrt(0.05 * 0.95 / DRAWS)
    assert abs(alarms - 0.05) < 4 * error
