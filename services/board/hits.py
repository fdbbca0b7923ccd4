"""Which test clips a result had right, packed: what paired tests between the entries of a board read.

Seeds stand one after the other, each with the clips of all its splits, one bit a clip. A clip on which several splits
test counts once, as the first of them has it, so that no test counts it twice.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Hits:
    """What was right of a test set.

    Attributes:
        truth: what says of which clips and in which order; hits of one truth may be compared bit by bit.
        seeds: how many there are.
        bits: of each seed in turn, the highest bit of a byte first, the last byte filled with zeros.
    """

    truth: str
    seeds: int
    bits: bytes


@dataclass(frozen=True)
class Ranked:
    """Of one split and seed: digest of the test set, and how many classes stand before the right one of each clip."""

    truth: str
    ranks: Sequence[int]


def pool(answers: Mapping[tuple[int, int], Ranked], shared: Iterable[Mapping[int, int]], within: int) -> Hits | None:
    """Return the hits of some splits together; None where a seed lacks a split, or seeds disagree about the clips.

    Args:
        answers: by split and seed.
        shared: of each clip that several splits test on, its place in each, by split.
        within: a clip is right if its label is among so many highest scores.
    """
    splits, seeds = (sorted({place[index] for place in answers}) for index in (0, 1))
    if not splits or len(answers) != len(splits) * len(seeds):
        return None
    truths = {split: {answers[split, seed].truth for seed in seeds} for split in splits}
    if any(len(found) != 1 for found in truths.values()):
        return None
    again = {(split, where[split]) for where in shared for split in sorted(where)[1:] if split in truths}
    planes = [
        [rank < within for split in splits for rank in _kept(answers[split, seed].ranks, split, again)]
        for seed in seeds
    ]
    known = json.dumps([[split, *truths[split]] for split in splits] + [len(planes[0])])
    return Hits(hashlib.sha256(known.encode()).hexdigest(), len(seeds), b"".join(map(packed, planes)))


def _kept(ranks: Sequence[int], split: int, again: Collection[tuple[int, int]]) -> Iterable[int]:
    return (rank for place, rank in enumerate(ranks) if (split, place) not in again)


def packed(bits: Sequence[bool]) -> bytes:
    """Return bits eight a byte, the highest first, as ``numpy.packbits`` does."""
    size = -(-len(bits) // 8)
    text = "".join("1" if bit else "0" for bit in bits).ljust(8 * size, "0")
    return int(text or "0", 2).to_bytes(size, "big")
