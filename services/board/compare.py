"""Two systems that answered the same clips: what differs in how they were made, and in what they say.

Differences are those of the right one over the left one. Accuracies are means over splits of means over seeds, as on
the leaderboard. What looks at single clips, McNemar's test among it, takes one seed of each and every clip once: in the
first of the splits that test on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from services.board.answers import Answers, Floats
from services.board.parts import ONE_UNIT, Tested, mean_right
from services.board.results import Result
from services.board.systems import System, comparable, differences
from services.metrics import of_boxes
from services.statistics.paired import mcnemar

NO_PAIRS = "no test, and no single clips: it is not known which clips the splits share"
OTHER_BOXES = "no metrics of boxes: the two were measured against other true boxes"

Bounds = tuple[float, float]


@dataclass(frozen=True)
class Side:
    """One of the systems; ``values`` are its top-1 accuracies by seed, ``spread`` their deviation (n - 1)."""

    system: System
    value: float
    spread: float | None
    values: Mapping[int, float]


@dataclass(frozen=True)
class Change:
    """The accuracy of both on a class or category, None where no clip of it is tested."""

    name: str
    category: str | None
    clips: int
    left: float
    right: float

    @property
    def difference(self) -> float:
        """Of the right one over the left one."""
        return self.right - self.left


@dataclass(frozen=True)
class OverlapChange:
    """A metric of boxes, of both systems against the same true ones."""

    metric: str
    left: float
    right: float

    @property
    def difference(self) -> float:
        """Of the right one over the left one."""
        return self.right - self.left


@dataclass(frozen=True)
class SeedPair:
    """McNemar's test of a seed of each: the clips that one alone gets right, and the two-sided exact p value."""

    left_seed: int
    right_seed: int
    left_only: int
    right_only: int
    p: float


@dataclass(frozen=True)
class LoneClip:
    """A clip that one system alone gets right; ``clip`` is None where ids are not known."""

    clip: str | None
    split: int
    label: str
    left: str
    right: str


@dataclass(frozen=True)
class Paired:
    """What single clips say, of one seed of each system.

    Attributes:
        clips: how many there are.
        test: McNemar's.
        agreement: share of clips of which both say the same class.
        both_right: share of clips.
        oracle: share of clips that at least one gets right: what a perfect choice between the two would reach.
        left_only: some of the clips that the left one alone gets right, in the order of ids.
        right_only: likewise.
    """

    clips: int
    test: SeedPair
    agreement: float
    both_right: float
    oracle: float
    left_only: tuple[LoneClip, ...]
    right_only: tuple[LoneClip, ...]


@dataclass(frozen=True)
class Comparison:
    """Two systems side by side.

    Attributes:
        differs: fields of the specs that differ, by dotted name, with both values.
        difference: of the top-1 accuracy.
        interval: its bootstrap interval, of networks with these seeds over other clips; None where it is not known
            which clips the splits share.
        units: what the bootstrap draws, and ``num_units`` how many of them there are.
        paired: None where it is not known which clips the splits share.
        classes: in the order of labels, without those that no split tests.
        categories: likewise.
        seeds: every seed of one against every seed of the other, where one has several.
        overlaps: metrics of boxes, where both have them, and against the same true ones.
    """

    left: Side
    right: Side
    differs: Mapping[str, tuple[Any, Any]]
    difference: float
    interval: Bounds | None
    units: Literal["groups", "clips"] | None
    num_units: int | None
    paired: Paired | None
    classes: tuple[Change, ...]
    categories: tuple[Change, ...]
    seeds: tuple[SeedPair, ...]
    overlaps: tuple[OverlapChange, ...]
    notes: tuple[str, ...]


def compare(
    session: Session,
    left: str,
    right: str,
    *,
    dataset: str | None = None,
    split: int | None = None,
    stream: str = "two-stream",
    clips: int = 100,
    pool: bool = False,
) -> Comparison:
    """Compare a stream of two experiments; see `comparable` for arguments and errors.

    ``clips`` is how many of those are named that one system alone gets right, of each system.
    """
    systems, tested = comparable(
        session, [("left", left), ("right", right)], dataset=dataset, split=split, stream=stream, pool=pool
    )
    one, other = systems
    rights = mean_right(one.parts), mean_right(other.parts)
    deltas = {number: rights[1][number] - rights[0][number] for number in rights[0]}
    sides = side(one), side(other)
    units = tested.units
    several = len(one.seeds) > 1 or len(other.seeds) > 1
    return Comparison(
        left=sides[0],
        right=sides[1],
        differs=differences(one.experiment.spec, other.experiment.spec),
        difference=sides[1].value - sides[0].value,
        interval=tested.rate_interval(deltas),
        units=None if units is None else units.kind,
        num_units=None if units is None else units.count,
        paired=None if tested.once is None else _paired(one, other, tested, clips),
        classes=_classes(tested, *rights),
        categories=_categories(tested, *rights),
        seeds=seed_pairs(one, other, tested) if several else (),
        overlaps=overlaps(one.result, other.result),
        notes=_notes(one, other, tested),
    )


def overlaps(left: Result, right: Result) -> tuple[OverlapChange, ...]:
    """Return the metrics of boxes that both results have, if they were measured against the same true ones."""
    if left.boxes != right.boxes:
        return ()
    one, other = left.values, right.values
    return tuple(
        OverlapChange(name, one[name].value, other[name].value) for name in of_boxes() if name in one and name in other
    )


def _notes(left: System, right: System, tested: Tested) -> tuple[str, ...]:
    notes = [NO_PAIRS] if tested.once is None else [ONE_UNIT] if tested.is_one_unit else []
    for system in (left, right):
        if system.pooled:
            ids = ", ".join(each.row.experiment_id for each in system.pooled)
            notes.append(f"{system.experiment.id} with the seeds of {ids}, which differ from it in seeds alone")
            notes += [f"metrics of boxes are those of {system.experiment.id} alone"] if system.result.boxes else []
    hashes = left.result.boxes, right.result.boxes
    if None not in hashes and hashes[0] != hashes[1]:
        notes.append(OTHER_BOXES)
    return tuple(notes)


def side(system: System) -> Side:
    """Return a system with its accuracy, and that of each of its seeds."""
    values = {seed: fmean(float(said.right.mean()) for said in system.of_seed(seed).values()) for seed in system.seeds}
    value = fmean(float(rates.mean()) for rates in mean_right(system.parts).values())
    return Side(system, value, stdev(values.values()) if len(values) > 1 else None, values)


def seed_pairs(left: System, right: System, tested: Tested) -> tuple[SeedPair, ...]:
    """Return McNemar's tests of every seed of one against every seed of the other."""
    if tested.once is None:
        return ()
    one, other = (np.stack([_pooled(system, seed, tested) for seed in system.seeds]) for system in (left, right))
    left_only, right_only = _counts(one, ~other), _counts(~one, other)
    p = mcnemar(left_only, right_only)
    return tuple(
        SeedPair(first, second, int(left_only[i, j]), int(right_only[i, j]), float(p[i, j]))
        for i, first in enumerate(left.seeds)
        for j, second in enumerate(right.seeds)
    )


def first_seeds(left: System, right: System) -> tuple[int, int]:
    """Return the first seed that both have, or else the first of each."""
    common = sorted(set(left.seeds) & set(right.seeds))
    return (common[0], common[0]) if common else (left.seeds[0], right.seeds[0])


def paired_test(left: System, right: System, tested: Tested) -> SeedPair | None:
    """Return McNemar's test of one seed of each; None where it is not known which clips the splits share."""
    wanted = first_seeds(left, right)
    return next((pair for pair in seed_pairs(left, right, tested) if (pair.left_seed, pair.right_seed) == wanted), None)


def _pooled(system: System, seed: int, tested: Tested) -> NDArray[np.bool_]:
    """Return whether each distinct clip is right, in the first split that tests on it."""
    assert tested.once is not None
    return np.concatenate([said.right[tested.once[split]] for split, said in system.of_seed(seed).items()])


def _counts(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return on how many clips both hold, for each row (S, N) of one and each row (T, N) of the other, (S, T)."""
    found: NDArray[np.int64] = np.rint(one.astype(np.float64) @ other.astype(np.float64).T).astype(np.int64)
    return found


def _paired(left: System, right: System, tested: Tested, most: int) -> Paired:
    test = paired_test(left, right, tested)
    assert test is not None
    assert tested.once is not None
    clips = same = both = 0
    lone: tuple[list[LoneClip], list[LoneClip]] = ([], [])
    for split, one in left.of_seed(test.left_seed).items():
        other, once = right.of_seed(test.right_seed)[split], tested.once[split]
        clips += int(once.sum())
        same += int((one.predicted == other.predicted)[once].sum())
        both += int((one.right & other.right)[once].sum())
        lone[0].extend(_lone(one, other, once & one.right & ~other.right, most))
        lone[1].extend(_lone(one, other, once & ~one.right & other.right, most))
    named = [tuple(sorted(found, key=lambda clip: clip.clip or "")[:most]) for found in lone]
    oracle = (both + test.left_only + test.right_only) / clips
    return Paired(clips, test, same / clips, both / clips, oracle, named[0], named[1])


def _lone(one: Answers, other: Answers, chosen: NDArray[np.bool_], most: int) -> list[LoneClip]:
    names, ids = one.test.classes, one.test.ids
    return [
        LoneClip(
            clip=None if ids is None else ids[place],
            split=one.split,
            label=names[int(one.test.labels[place])],
            left=names[int(one.predicted[place])],
            right=names[int(other.predicted[place])],
        )
        for place in np.flatnonzero(chosen)[:most].tolist()
    ]


def _classes(tested: Tested, left: Mapping[int, Floats], right: Mapping[int, Floats]) -> tuple[Change, ...]:
    names, categories = tested.any.classes, tested.any.categories
    clips = np.sum([test.counts for test in tested.sets.values()], axis=0).tolist()
    one, other = tested.of_classes(left).tolist(), tested.of_classes(right).tolist()
    return tuple(
        Change(name, categories[label] if categories else None, clips[label], one[label], other[label])
        for label, name in enumerate(names)
        if clips[label]
    )


def _categories(tested: Tested, left: Mapping[int, Floats], right: Mapping[int, Floats]) -> tuple[Change, ...]:
    names: Sequence[str] = tested.any.categories or ()
    clips = np.sum([test.counts for test in tested.sets.values()], axis=0).tolist()
    one, other = tested.of_categories(left), tested.of_categories(right)
    return tuple(
        Change(name, None, sum(n for n, own in zip(clips, names, strict=True) if own == name), one[name], other[name])
        for name in one
    )
