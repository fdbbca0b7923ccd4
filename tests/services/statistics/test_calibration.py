"""Calibration against a plain loop over bins."""

from __future__ import annotations

import numpy as np
import pytest

from services.statistics.calibration import BINS, binned, brier, expected_error


def plain(confidences: np.ndarray, right: np.ndarray) -> float:
    total = 0.0
    for number in range(BINS):
        inside = (confidences > number / BINS) & (confidences <= (number + 1) / BINS)
        if inside.any():
            total += inside.mean() * abs(confidences[inside].mean() - right[inside].mean())
    return total


def test_the_expected_error_is_that_of_the_definition() -> None:
    rng = np.random.default_rng(1)
    confidences = rng.random(500) ** 0.5
    right = rng.random(500) < confidences**2
    sums = binned(confidences, right).sum(axis=0)
    assert float(expected_error(sums)) == pytest.approx(plain(confidences, right))
    edges = np.arange(BINS + 1) / BINS
    assert sums.reshape(BINS, 3)[:, 0].tolist() == np.histogram(confidences, edges)[0].tolist()
    assert brier(confidences, right) == pytest.approx(float(((confidences - right) ** 2).mean()))


def test_the_ends_belong_to_bins() -> None:
    sums = binned(np.array([0.0, 1 / BINS, 1.0]), np.array([False, True, True])).sum(axis=0).reshape(BINS, 3)
    assert sums[:, 0].tolist() == [2.0, *[0.0] * (BINS - 2), 1.0]


def test_a_calibrated_system_has_no_error_but_chance() -> None:
    rng = np.random.default_rng(2)
    confidences = rng.random(100_000)
    right = rng.random(100_000) < confidences
    assert float(expected_error(binned(confidences, right).sum(axis=0))) < 0.01
