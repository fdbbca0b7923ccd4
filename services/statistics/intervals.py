"""Confidence intervals of accuracies, also of a mean over test sets that have clips in common."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

Z_95 = 1.959963984540054
"""Quantile of the normal distribution for a two-sided 95 % interval."""


@dataclass(frozen=True)
class SplitRate:
    """What one split measured.

    Attributes:
        rate: share of its clips that are right, 0 to 1.
        clips: how many clips it has, at least 1.
        hits: for each clip, in the order of their ids, how often it was right, 0 to 1, a mean over seeds; None where
            that is not known.
    """

    rate: float
    clips: int
    hits: Sequence[float] | None = None


def wilson(rate: float, clips: float) -> tuple[float, float]:
    """Return Wilson's 95 % confidence interval of a rate.

    Args:
        rate: share of clips that are right, 0 to 1.
        clips: how many independent clips there were, above 0; an effective number need not be whole.

    Source: E. B. Wilson, JASA 22 (1927).
    """
    spread = Z_95 * Z_95 / clips
    centre = (rate + spread / 2) / (1 + spread)
    half = Z_95 / (1 + spread) * math.sqrt(rate * (1 - rate) / clips + spread / (4 * clips))
    return max(0.0, centre - half), min(1.0, centre + half)


def distinct_clips(clips: Mapping[int, int], shared: Sequence[Mapping[int, int]]) -> int:
    """Return how many clips several test sets hold together.

    Args:
        clips: how many each holds, by split.
        shared: as for `effective_clips`.
    """
    return sum(clips.values()) - sum(len(indices) - 1 for indices in shared)


def effective_clips(sets: Mapping[int, SplitRate], shared: Sequence[Mapping[int, int]]) -> float:
    """Return the number of independent clips that would tell as much about the mean rate as these test sets do.

    A clip is the unit that is sampled. With S sets of n_s clips, h_is the hit of set s's network on clip i and p_s its
    mean, the mean rate p is the sum over distinct clips of y_i = sum_s h_is / (S n_s), and since clips are independent

        Var p = 1/S^2 [ sum_s p(1 - p) / n_s  +  2 sum_{s<t} C_st / (n_s n_t) ]
        C_st  = sum over the clips i in both sets of (h_is - p_s)(h_it - p_t)

    The effective number is p(1 - p) / Var p: Wilson's interval takes it in place of the number of clips, as is usual
    for proportions of complex samples (N. Dean and M. Pagano, J. Survey Statistics and Methodology 3 (2015)). Where
    hits are not known, and where p is 0 or 1 and says nothing of them, a clip counts as right in all its sets or in
    none: C_st is m_st p(1 - p) with m_st clips in both sets, and the number is Kish's, 1 / sum_i w_i^2, with w_i
    the total weight of a clip. It never exceeds the number of distinct clips, whatever noise is in C_st; for disjoint
    sets of equal size it is that number.

    Args:
        sets: what each split measured, by split.
        shared: of every clip that stands in two sets or more, its index in each of them, by split.
    """
    rate = sum(part.rate for part in sets.values()) / len(sets)
    variance = rate * (1 - rate)
    known = variance > 0 and all(part.hits is not None for part in sets.values())
    total = sum(1 / part.clips for part in sets.values())
    for indices in shared:
        for one, other in combinations(sorted(indices), 2):
            related = 1.0
            if known:
                related = _deviation(sets[one], indices[one]) * _deviation(sets[other], indices[other]) / variance
            total += 2 * related / (sets[one].clips * sets[other].clips)
    distinct = distinct_clips({split: part.clips for split, part in sets.items()}, shared)
    return min(len(sets) ** 2 / total, distinct) if total > 0 else distinct


def _deviation(part: SplitRate, index: int) -> float:
    assert part.hits is not None
    return part.hits[index] - part.rate
