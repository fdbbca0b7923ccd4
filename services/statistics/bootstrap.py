"""Bootstrap intervals of functions of sums over units: clips, or the scenes and films that clips have in common.

Drawing U units with replacement and adding up is drawing how often each *distinct* row is met: hits and misses of some
thousand clips are a multinomial of two outcomes. Draws come from one seed, so that equal questions have equal answers.

Source: B. Efron and R. Tibshirani, An Introduction to the Bootstrap (1993), chapter 13, percentile intervals.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

DRAWS, SEED = 1000, 0
FEW = 64
"""Distinct rows up to which their counts are drawn; drawing the units themselves is faster for more."""
CELLS = 2_000_000
"""Counts of units, draw by draw, that are in memory at once."""

Floats = NDArray[np.float64]


def sums(units: NDArray[np.integer], values: ArrayLike, count: int) -> Floats:
    """Return the sum of clips' values over each of ``count`` units.

    Args:
        units: of each clip, from 0, (N,).
        values: of each clip, (N,) or (N, M); the result is (count, 1) or (count, M).
        count: how many units there are.
    """
    found = np.asarray(values, np.float64).reshape(len(units), -1)
    return np.stack([np.bincount(units, column, count) for column in found.T], axis=1)


def resampled(rows: Floats, draws: int = DRAWS, *, alike: bool = False) -> Floats:
    """Return sums over as many units as there are, drawn with replacement, (draws, M).

    Args:
        rows: what each unit adds, (U, M).
        draws: how often all units are drawn.
        alike: whether each draw must meet the units that it meets of other rows of as many units.
    """
    rng = np.random.default_rng(SEED)
    size = len(rows)
    if not alike:
        distinct, counts = np.unique(rows, axis=0, return_counts=True)
        if len(distinct) <= FEW:
            few: Floats = rng.multinomial(size, counts / size, size=draws).astype(np.float64) @ distinct
            return few
    found = np.empty((draws, rows.shape[1]))
    step = max(1, CELLS // size)
    for begin in range(0, draws, step):
        part = found[begin : begin + step]
        part[:] = np.stack([np.bincount(rng.integers(size, size=size), minlength=size) for _ in part]) @ rows
    return found


def interval(samples: Floats) -> tuple[float, float]:
    """Return the bounds between which the middle 95 % of samples lie."""
    lower, upper = np.percentile(samples, [2.5, 97.5])
    return float(lower), float(upper)
