"""Rank groups: entries of a board that a paired test does not tell from the best of their group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.board.hits import Hits
from services.statistics.paired import holm, mcnemar

ALPHA = 0.05
TEST = "McNemar, exact, Holm"
"""Named beside the groups."""


def leaders(hits: Sequence[Hits | None]) -> list[int | None]:
    """Return, for entries from the best on, the place of each one's leader; None where its hits are not known.

    Going down from a leader, an entry joins while it is not significantly worse; the first that is leads the next
    group. A leader is compared with all entries below it, by McNemar's exact test on their common test clips, and
    Holm's adjustment is for as many tests. A clip speaks for the entry that has it right more often over its seeds.
    Entries of another test set than the first known one's have no group.
    """
    truth = next((found.truth for found in hits if found is not None), None)
    places = [place for place, found in enumerate(hits) if found is not None and found.truth == truth]
    known = [found for found in hits if found is not None and found.truth == truth]
    result: list[int | None] = [None] * len(hits)
    table = _table(known)
    first = 0
    while first < len(places):
        better, worse = table.against(first)
        significant = (holm(mcnemar(better, worse)) < ALPHA) & (better > worse)
        after = first + 1 + (int(significant.argmax()) if significant.any() else len(significant))
        for place in places[first:after]:
            result[place] = places[first]
        first = after
    return result


def _table(known: Sequence[Hits]) -> _Bits | _Counts:
    rows = [np.frombuffer(found.bits, np.uint8).reshape(found.seeds, -1) for found in known]
    if all(found.seeds == 1 for found in known):
        return _Bits(np.concatenate(rows) if rows else np.zeros((0, 0), np.uint8))
    counts = [np.unpackbits(row, axis=1).sum(axis=0, dtype=np.uint16) for row in rows]
    return _Counts(np.stack(counts), np.array([[found.seeds] for found in known], np.uint16))


class _Bits(NamedTuple):
    """Entries of one seed each, eight clips a byte."""

    bits: NDArray[np.uint8]

    def against(self, first: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return on how many clips one entry alone is right, and each one below it alone."""
        own, others = self.bits[first], self.bits[first + 1 :]
        return (
            np.bitwise_count(own & ~others).sum(axis=1, dtype=np.int64),
            np.bitwise_count(others & ~own).sum(axis=1, dtype=np.int64),
        )


class _Counts(NamedTuple):
    """Entries of several seeds: how many of its seeds have each clip right, and how many there are."""

    right: NDArray[np.uint16]
    seeds: NDArray[np.uint16]

    def against(self, first: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return on how many clips a greater share of one entry's seeds is right, and of each one's below it."""
        own, others = self.right[first] * self.seeds[first + 1 :], self.right[first + 1 :] * self.seeds[first]
        return (own > others).sum(axis=1, dtype=np.int64), (others > own).sum(axis=1, dtype=np.int64)
