"""Rank groups against a test of each pair by SciPy, on hits that are packed as results write them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from services.board.groups import leaders
from services.board.hits import Hits, Ranked, pool

CLIPS = 1003
DRAW = np.random.default_rng(3)


def answers(rates: list[float], seeds: int) -> list[np.ndarray]:
    """Ranks of the right class, 0 where right, of entries that agree about which clips are easy."""
    ease = DRAW.random(CLIPS)
    return [((ease[None] + 0.3 * DRAW.random((seeds, CLIPS))) > rate).astype(int) for rate in rates]


def packed(ranks: np.ndarray) -> Hits:
    found = pool({(1, seed): Ranked("t", list(map(int, row))) for seed, row in enumerate(ranks)}, (), 1)
    assert found is not None
    return found


def expected(systems: list[np.ndarray]) -> list[int]:
    """The same, clip by clip."""
    result: list[int] = []
    first = 0
    shares = [(ranks == 0).mean(axis=0) for ranks in systems]
    while first < len(shares):
        below = range(first + 1, len(shares))
        only = [((shares[first] > shares[i]).sum(), (shares[i] > shares[first]).sum()) for i in below]
        p = [binomtest(int(a), int(a + b)).pvalue if a + b else 1.0 for a, b in only]
        order = np.argsort(p)
        adjusted = np.zeros(len(p))
        worst = 0.0
        for place, index in enumerate(order):
            worst = max(worst, min(1.0, p[index] * (len(p) - place)))
            adjusted[index] = worst
        end = next((i for i, q, (a, b) in zip(below, adjusted, only, strict=True) if q < 0.05 and a > b), len(shares))
        result += [first] * (end - first)
        first = end
    return result


@pytest.mark.parametrize("seeds", [1, 3])
def test_an_entry_joins_while_it_is_not_significantly_worse_than_the_leader(seeds: int) -> None:
    systems = answers([1.1, 1.09, 1.08, 1.04, 1.0, 0.99, 0.9, 0.88], seeds)
    found = leaders([packed(ranks) for ranks in systems])
    assert found == expected(systems)
    assert len(set(found)) > 2


def test_entries_of_different_numbers_of_seeds_are_compared_by_their_shares() -> None:
    systems = [*answers([1.1, 1.05], 1), *answers([1.0, 0.8], 2)]
    assert leaders([packed(ranks) for ranks in systems]) == expected(systems)


def test_equal_entries_are_one_group() -> None:
    (one,) = answers([0.9], 1)
    assert leaders([packed(one)] * 5) == [0] * 5


def test_an_entry_of_which_the_hits_are_not_known_has_no_group_and_ends_none() -> None:
    good, bad = (packed(ranks) for ranks in answers([1.2, 0.3], 1))
    other = Hits("another test set", 1, good.bits)
    assert leaders([None, good, None, good, other, bad, bad]) == [None, 1, None, 1, None, 5, 5]
    assert leaders([]) == []
    assert leaders([None, None]) == [None, None]


def test_hits_are_packed_by_seed_and_a_clip_of_several_splits_counts_once() -> None:
    found = pool(
        {
            (1, 0): Ranked("a", [0, 1, 5]), (2, 0): Ranked("b", [0, 0]),
            (1, 7): Ranked("a", [0, 0, 0]), (2, 7): Ranked("b", [9, 9]),
        },
        [{1: 2, 2: 0}],
        2,
    )  # fmt: skip
    assert found is not None
    assert (found.seeds, found.bits) == (2, bytes([0b11010000, 0b11100000]))
    assert list(np.unpackbits(np.frombuffer(found.bits, np.uint8))[:4]) == [1, 1, 0, 1]


def test_what_was_said_of_other_clips_is_not_pooled() -> None:
    one, other = Ranked("a", [0, 1]), Ranked("b", [0, 1])
    assert pool({(1, 0): one, (1, 1): other}, (), 1) is None
    assert pool({(1, 0): one, (2, 1): other}, (), 1) is None
    first, second = pool({(1, 0): one}, (), 1), pool({(1, 0): other}, (), 1)
    assert first is not None
    assert second is not None
    assert first.truth != second.truth
