"""Paired tests against SciPy and statsmodels."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from services.statistics.paired import holm, mcnemar


def test_mcnemar_is_the_binomial_test_of_the_clips_that_tell_two_systems_apart() -> None:
    counts = np.array([(0, 0), (1, 0), (0, 5), (5, 0), (7, 7), (3, 12), (12, 3), (40, 61), (400, 480), (0, 3783)])
    expected = [binomtest(left, left + right).pvalue if left + right else 1.0 for left, right in counts.tolist()]
    np.testing.assert_allclose(mcnemar(counts[:, 0], counts[:, 1]), expected, rtol=1e-12)


def test_mcnemar_by_hand() -> None:
    """1 of 6: 2 (1 + 6) / 64."""
    assert mcnemar(1, 5) == pytest.approx(14 / 64)
    assert mcnemar([[1], [5]], [5, 1]).shape == (2, 2)


@pytest.mark.filterwarnings("ignore")  # statsmodels' own
@pytest.mark.parametrize("count", [0, 1, 2, 5, 200])
def test_holm_is_that_of_statsmodels(count: int) -> None:
    p = np.random.default_rng(count).random(count) ** 3
    p[: count // 3] = p[-1:].repeat(count // 3)  # ties
    found = holm(p)
    if count:
        from statsmodels.stats.multitest import multipletests  # noqa: PLC0415 - 2.6 s, and no other test needs it

        np.testing.assert_allclose(found, multipletests(p, method="holm")[1], rtol=1e-12)
    assert found.shape == (count,)


def test_holm_by_hand() -> None:
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
