"""Two to five systems that answered the same clips: every pair tested, and the classes that tell them apart.

All pairs are one family of tests: Holm's method adjusts their p values over all of them. A single pair has more to say
in `services.board.compare`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np
from sqlalchemy.orm import Session

from services.board.compare import NO_PAIRS, Bounds, SeedPair, Side, paired_test, side
from services.board.parts import ONE_UNIT, Tested, mean_right
from services.board.systems import System, comparable, differing
from services.errors import InvalidRequest
from services.statistics.paired import holm

FEWEST, MOST = 2, 5
"""Systems that are compared at once."""
FIELD = "experiments"


@dataclass(frozen=True)
class Pair:
    """Two of the systems, by their places; the difference is that of the right one over the left one.

    Attributes:
        difference: of the top-1 accuracy.
        interval: its bootstrap interval, by itself; None where it is not known which clips the splits share.
        test: McNemar's, of one seed of each; None likewise.
        adjusted_p: of that test, by Holm's method over all pairs.
    """

    left: int
    right: int
    difference: float
    interval: Bounds | None
    test: SeedPair | None
    adjusted_p: float | None


@dataclass(frozen=True)
class Rates:
    """The accuracy of each system on a class or a category; ``clips`` counts a clip in each split."""

    name: str
    category: str | None
    clips: int
    values: tuple[float, ...]

    @property
    def spread(self) -> float:
        """From the lowest to the highest."""
        return max(self.values) - min(self.values)


@dataclass(frozen=True)
class Several:
    """Systems side by side, in the order in which they were named.

    Attributes:
        differs: fields of the specs that are not the same in all, by dotted name, with each one's value.
        units: what the bootstrap draws, and ``num_units`` how many of them there are.
        classes: those that a split tests, the one first on which the systems differ most.
        categories: in the order of their names.
        notes: why something is None.
    """

    sides: tuple[Side, ...]
    differs: Mapping[str, tuple[Any, ...]]
    pairs: tuple[Pair, ...]
    units: Literal["groups", "clips"] | None
    num_units: int | None
    classes: tuple[Rates, ...]
    categories: tuple[Rates, ...]
    notes: tuple[str, ...]


def several(session: Session, ids: Sequence[str], *, split: int | None = None, stream: str = "two-stream") -> Several:
    """Compare a stream of some experiments; see `comparable` for the other arguments and errors.

    Raises:
        InvalidRequest: there are fewer than two different ids, or more than five.
    """
    ids = list(dict.fromkeys(ids))
    if not FEWEST <= len(ids) <= MOST:
        raise InvalidRequest(FIELD, ", ".join(ids), f"{FEWEST} to {MOST} different ids of experiments")
    systems, tested = comparable(session, [(FIELD, id_) for id_ in ids], dataset=None, split=split, stream=stream)
    units = tested.units
    return Several(
        sides=tuple(map(side, systems)),
        differs=differing([system.experiment.spec for system in systems]),
        pairs=_pairs(systems, tested),
        units=None if units is None else units.kind,
        num_units=None if units is None else units.count,
        classes=_classes(systems, tested),
        categories=_categories(systems, tested),
        notes=(NO_PAIRS,) if tested.once is None else (ONE_UNIT,) if tested.is_one_unit else (),
    )


def _pairs(systems: Sequence[System], tested: Tested) -> tuple[Pair, ...]:
    places = list(combinations(range(len(systems)), 2))
    tests = [paired_test(systems[left], systems[right], tested) for left, right in places]
    adjusted = holm([test.p for test in tests if test is not None]).tolist() if all(tests) else [None] * len(tests)
    rights = [mean_right(system.parts) for system in systems]
    values = [side(system).value for system in systems]
    return tuple(
        Pair(
            left,
            right,
            values[right] - values[left],
            tested.rate_interval({split: rights[right][split] - rights[left][split] for split in rights[left]}),
            test,
            p,
        )
        for (left, right), test, p in zip(places, tests, adjusted, strict=True)
    )


def _classes(systems: Sequence[System], tested: Tested) -> tuple[Rates, ...]:
    names, categories = tested.any.classes, tested.any.categories
    clips = np.sum([test.counts for test in tested.sets.values()], axis=0).tolist()
    rates = [tested.of_classes(mean_right(system.parts)).tolist() for system in systems]
    found = (
        Rates(name, categories[label] if categories else None, clips[label], tuple(own[label] for own in rates))
        for label, name in enumerate(names)
        if clips[label]
    )
    return tuple(sorted(found, key=lambda each: -each.spread))  # a stable sort: equals stay in the order of labels


def _categories(systems: Sequence[System], tested: Tested) -> tuple[Rates, ...]:
    names: Sequence[str] = tested.any.categories or ()
    clips = np.sum([test.counts for test in tested.sets.values()], axis=0).tolist()
    rates = [tested.of_categories(mean_right(system.parts)) for system in systems]
    return tuple(
        Rates(
            name,
            None,
            sum(count for count, own in zip(clips, names, strict=True) if own == name),
            tuple(own[name] for own in rates),
        )
        for name in rates[0]
    )
