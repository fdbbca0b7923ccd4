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
WORD = 8
"""Bytes that are compared at once."""
SHARE = 2**16 - 1


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
        worse = table.worse(first)
        after = first + 1 + (int(worse.argmax()) if worse.any() else len(worse))
        for place in places[first:after]:
            result[place] = places[first]
        first = after
    return result


def _table(known: Sequence[Hits]) -> _Bits | _Counts:
    rows = [np.frombuffer(found.bits, np.uint8).reshape(found.seeds, -1) for found in known]
    seeds = {found.seeds for found in known}
    if seeds <= {1}:
        size = max((row.shape[1] for row in rows), default=0)
        bits = np.zeros((len(rows), -(-size // WORD)), np.uint64)
        for row, packed in zip(bits.view(np.uint8), rows, strict=True):
            row[:size] = packed[0]
        return _Bits(bits, np.bitwise_count(bits).sum(axis=1, dtype=np.int64))
    counts = [np.unpackbits(row, axis=1).sum(axis=0, dtype=np.uint8) for row in rows]
    if len(seeds) == 1:
        return _Counts(np.stack(counts))
    shares = [np.rint(count * (SHARE / found.seeds)) for count, found in zip(counts, known, strict=True)]
    return _Counts(np.stack(shares).astype(np.uint16))  # equal ones stay equal, and others do not become so


class _Bits(NamedTuple):
    """Entries of one seed each, as many clips a number as it has bits, and how many clips each one has right."""

    bits: NDArray[np.uint64]
    right: NDArray[np.int64]

    def worse(self, first: int) -> NDArray[np.bool_]:
        """Return which of the entries below one are significantly worse.

        Those of which that is certain without a look at single clips count as rejected first, which changes nothing for
        the others: a p value below alpha by the number of tests is rejected in whatever place it stands. By Hoeffding
        it is at most 2 exp(-d^2 / 2n) for a difference of d clips, and n clips that one of two alone has right are no
        more than those that one of them has wrong.
        """
        difference = self.right[first] - self.right[first + 1 :]
        clips = self.bits.shape[1] * WORD * 8
        most = np.maximum(1, 2 * clips - self.right[first] - self.right[first + 1 :])
        certain = (difference > 0) & (2 * np.exp(-(difference**2) / (2 * most)) < ALPHA / max(1, len(difference)))
        own, others = self.bits[first], self.bits[first + 1 :][~certain]
        better = np.bitwise_count(own & ~others).sum(axis=1, dtype=np.int64)
        found: NDArray[np.bool_] = certain.copy()
        found[~certain] = _significant(better, better - difference[~certain], int(certain.sum()))
        return found


class _Counts(NamedTuple):
    """Entries of several seeds: how many, or what share, of its seeds have each clip right."""

    right: NDArray[np.uint8] | NDArray[np.uint16]

    def worse(self, first: int) -> NDArray[np.bool_]:
        """Return which of the entries below one are significantly worse."""
        own, others = self.right[first], self.right[first + 1 :]
        return _significant(np.count_nonzero(own > others, axis=1), np.count_nonzero(others > own, axis=1))


def _significant(better: NDArray[np.int64], worse: NDArray[np.int64], rejected: int = 0) -> NDArray[np.bool_]:
    """Say where one entry is better than others, beside so many tests that are rejected already."""
    p = holm(np.concatenate([np.zeros(rejected), mcnemar(better, worse)]))[rejected:]
    found: NDArray[np.bool_] = np.logical_and(p < ALPHA, better > worse)
    return found
