"""Whether a system is as often right as it is sure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BINS = 15

Floats = NDArray[np.float64]


def binned(confidences: Floats, right: NDArray[np.bool_]) -> Floats:
    """Return for each clip, bin by bin, whether it is there, its confidence and whether it is right, (N, BINS * 3).

    Bins are of equal width, each with its upper end: the first is 0 to 1/15.
    """
    bins = np.clip(np.ceil(confidences * BINS).astype(np.int64) - 1, 0, BINS - 1)
    found = np.zeros((len(bins), BINS, 3))
    found[np.arange(len(bins)), bins] = np.stack([np.ones(len(bins)), confidences, right], axis=1)
    return found.reshape(len(bins), -1)


def expected_error(sums: Floats) -> Floats:
    """Return the expected calibration error: the gap between accuracy and confidence, a mean over bins by their clips.

    Args:
        sums: over clips of what `binned` returns, (..., BINS * 3); the result is (...).

    Source: M. P. Naeini, G. F. Cooper, M. Hauskrecht, AAAI (2015), as C. Guo et al., ICML (2017), sec. 2.
    """
    parts = sums.reshape(*sums.shape[:-1], BINS, 3)
    gaps: Floats = np.abs(parts[..., 1] - parts[..., 2]).sum(axis=-1) / parts[..., 0].sum(axis=-1)
    return gaps


def brier(confidences: Floats, right: NDArray[np.bool_]) -> float:
    """Return Brier's score of the answers: the mean squared gap between how sure one is and whether it is right."""
    return float(np.mean((confidences - right) ** 2))
