"""Tests of systems that answered the same clips.

To load SciPy's special functions takes 0.4 s and 27 MiB, ``scipy.stats`` 1.5 s and 72 MiB, statsmodels 2.6 s and
136 MiB: too much for each process of the API. Its Holm is in the tests, and ours equals it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr


def mcnemar(left_only: ArrayLike, right_only: ArrayLike) -> NDArray[np.float64]:
    """Return the two-sided p values of exact McNemar tests, 1 where no clip tells two systems apart.

    Of the clips that one system alone gets right, each is as likely the left one's as the right one's if the systems
    are equally good: a binomial test with probability 1/2.

    Args:
        left_only: how many clips the left system alone gets right.
        right_only: how many the right one alone, of a shape that goes with it.

    Source: Q. McNemar, Psychometrika 12 (1947).
    """
    left, right = np.broadcast_arrays(np.asarray(left_only, np.int64), np.asarray(right_only, np.int64))
    tails: NDArray[np.float64] = np.minimum(
        1.0, 2 * bdtr(np.minimum(left, right).astype(np.float64), left + right, 0.5)
    )
    return tails


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """Return p values adjusted for how many tests there are: below alpha, a family errs with at most that probability.

    Args:
        p: of a family of tests, (N,).

    Source: S. Holm, Scandinavian J. Statistics 6 (1979).
    """
    values = np.asarray(p, np.float64)
    order = np.argsort(values, kind="stable")
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)))
    return adjusted
