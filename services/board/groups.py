"""Rank groups: entries of a board that a paired test does not tell from the best of their group."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from services.board.hits import Hits
from services.statistics.paired import holm, mcnemar

ALPHA = 0.05
TEST = "McNemar, exact, Holm"
"""Named beside the groups."""
MOST = 500
"""Entries among which groups are formed."""
WORD = 8
"""Bytes that are compared at once."""
SHARE = 2**16 - 1


class Tests:
    """Paired tests of leaders against the entries below them, each made once for as long as both entries stay.

    A test is kept by the ids of its entries, as the p value of McNemar's exact test; negative where the leader is not
    the better one.
    """

    __test__ = False  # no test of pytest's

    def __init__(self) -> None:
        self._known: dict[int, dict[int, float]] = {}

    def forget(self, id_: int) -> None:
        """Drop what is known of an entry that has changed."""
        self._known.pop(id_, None)
        for others in self._known.values():
            others.pop(id_, None)

    def leaders(self, ids: Sequence[int], hits: Sequence[Hits | None]) -> list[int | None]:
        """Return, for entries from the best on, the place of each one's leader; None where its hits are not known.

        Going down from a leader, an entry joins while it is not significantly worse; the first that is leads the next
        group. A leader is compared with all entries below it, by McNemar's exact test on their common test clips, and
        Holm's adjustment is for as many tests. A clip speaks for the entry that has it right more often over its seeds.
        Entries of another test set than the first known one's have no group.

        Args:
            ids: of the entries; what has an id that was seen before has the hits that it had.
            hits: of each, at the most `MOST`.
        """
        assert len(ids) == len(hits) <= MOST
        truth = next((found.truth for found in hits if found is not None), None)
        places = [place for place, found in enumerate(hits) if found is not None and found.truth == truth]
        known = [found for found in hits if found is not None and found.truth == truth]
        names = [ids[place] for place in places]
        result: list[int | None] = [None] * len(hits)
        lead: dict[int, dict[int, float]] = {}
        first = 0
        while first < len(places):
            lead[names[first]] = self._of(names[first:], known[first:])
            worse = _significant(np.array([lead[names[first]][name] for name in names[first + 1 :]]))
            after = first + 1 + (int(worse.argmax()) if worse.any() else len(worse))
            for place in places[first:after]:
                result[place] = places[first]
            first = after
        self._known = lead  # who leads no more may do so again, which is too rare to keep its tests for
        return result

    def _of(self, names: Sequence[int], known: Sequence[Hits]) -> dict[int, float]:
        """Return the tests of the first of some entries against the others."""
        there = self._known.get(names[0], {})
        made = {name: there[name] for name in names[1:] if name in there}
        new = [(name, found) for name, found in zip(names[1:], known[1:], strict=True) if name not in made]
        if new:
            tested = _tests(known[0], [found for _, found in new])
            made |= zip((name for name, _ in new), tested.tolist(), strict=True)
        return made


def leaders(hits: Sequence[Hits | None]) -> list[int | None]:
    """Return the places of leaders, of entries of which nothing is known yet; see `Tests.leaders`."""
    return Tests().leaders(range(len(hits)), hits)


def _significant(tests: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Say where a leader is better, by its tests against all entries below it."""
    found: NDArray[np.bool_] = np.logical_and(holm(np.abs(tests)) < ALPHA, ~np.signbit(tests))
    return found


def _tests(leader: Hits, others: Sequence[Hits]) -> NDArray[np.float64]:
    """Return the p value of a leader against each of some entries, negative where it is not the better one."""
    seeds = {leader.seeds} | {found.seeds for found in others}
    better, worse, p = _of_bits(leader, others) if seeds == {1} else _of_counts(leader, others, seeds)
    return np.where(better > worse, p, -p)


Compared = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]


def _of_bits(leader: Hits, others: Sequence[Hits]) -> Compared:
    """Compare entries of one seed each, as many clips at once as a word has bits.

    Where a difference is certain without a look at single clips, p counts as 0, which changes nothing: a p value below
    alpha by the number of tests is rejected in whatever place it stands. By Hoeffding it is at most 2 exp(-d^2 / 2n)
    for a difference of d clips, and n clips that one of two alone has right are no more than those that one of them has
    wrong.
    """
    rows = _words([leader, *others])
    right = np.bitwise_count(rows).sum(axis=1, dtype=np.int64)
    difference = right[0] - right[1:]
    most = np.maximum(1, 2 * rows.shape[1] * WORD * 8 - right[0] - right[1:])
    certain = (difference > 0) & (2 * np.exp(-(difference**2) / (2 * most)) < ALPHA / MOST)
    better, p = np.where(certain, difference, 0), np.zeros(len(others))
    better[~certain] = np.bitwise_count(rows[0] & ~rows[1:][~certain]).sum(axis=1, dtype=np.int64)
    p[~certain] = mcnemar(better[~certain], (better - difference)[~certain])
    return better, better - difference, p


def _words(hits: Sequence[Hits]) -> NDArray[np.uint64]:
    size = len(hits[0].bits)
    fill = bytes(-size % WORD)
    return np.frombuffer(b"".join(part for found in hits for part in (found.bits, fill)), np.uint64).reshape(
        len(hits), -1
    )


def _of_counts(leader: Hits, others: Sequence[Hits], seeds: set[int]) -> Compared:
    """Compare entries of several seeds: how many, or what share, of its seeds have each clip right."""
    planes = [np.frombuffer(found.bits, np.uint8).reshape(found.seeds, -1) for found in (leader, *others)]
    counts = [np.unpackbits(plane, axis=1).sum(axis=0, dtype=np.uint8) for plane in planes]
    if len(seeds) > 1:  # equal shares stay equal, and others do not become so
        found = zip(counts, (leader, *others), strict=True)
        right = np.stack([np.rint(count * (SHARE / each.seeds)).astype(np.uint16) for count, each in found])
    else:
        right = np.stack(counts).astype(np.uint16)
    better = np.count_nonzero(right[0] > right[1:], axis=1)
    worse = np.count_nonzero(right[1:] > right[0], axis=1)
    return better, worse, mcnemar(better, worse)
