"""Comparisons as JSON: of two systems, of several pair by pair, and of heads against a baseline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict

from api.board import Bounds, Split, Stream
from services.board import compare, controlled, several

MOST = 10
"""Classes that are named as gaining and losing most."""


class Shape(BaseModel):
    """Read from what the service returns."""

    model_config = ConfigDict(from_attributes=True)


class Side(BaseModel):
    """One of the systems.

    Attributes:
        value: top-1 accuracy, the mean over splits of the mean over seeds.
        std: of the seeds' own means over splits (n - 1); null for one seed.
        seeds: that mean of each seed.
        pooled: experiments that differ in seeds alone, whose seeds are among them.
    """

    experiment_id: str
    name: str
    model: str
    protocol: str
    selected_on_test: bool
    result_id: int
    value: float
    std: float | None
    seeds: dict[str, float]
    pooled: list[str]

    @classmethod
    def of(cls, found: compare.Side) -> Self:
        """Shape a side."""
        result = found.system.result
        return cls(
            experiment_id=found.system.experiment.id,
            name=found.system.experiment.name,
            model=result.row.model,
            protocol=result.protocol,
            selected_on_test=result.selected_on_test,
            result_id=result.row.id,
            value=found.value,
            std=found.spread,
            seeds={str(seed): value for seed, value in found.values.items()},
            pooled=[each.row.experiment_id for each in found.system.pooled],
        )


class SpecDifference(BaseModel):
    """A field of the specs and both values; null where one lacks it."""

    field: str
    left: Any
    right: Any


class Change(Shape):
    """The accuracy of both on a class or a category; `clips` counts a clip in each split."""

    name: str
    category: str | None
    clips: int
    left: float
    right: float
    difference: float


class OverlapChange(Shape):
    """A metric of boxes of both, against the same true boxes; differences are of the right one over the left one."""

    metric: str
    left: float
    right: float
    difference: float


class SeedPair(Shape):
    """The exact McNemar test, two-sided, of a seed of each: the clips that one alone gets right."""

    left_seed: int
    right_seed: int
    left_only: int
    right_only: int
    p: float


class LoneClip(Shape):
    """A clip that one system alone gets right, and what both say."""

    clip: str | None
    split: int
    label: str
    left: str
    right: str


class Paired(Shape):
    """What single clips say, of one seed of each system; every clip counts once, in the first split that tests on it.

    Attributes:
        agreement: share of clips of which both say the same class.
        both_right: share of clips.
        oracle: share of clips that at least one gets right.
        left_only: clips that the left one alone gets right, at most `clips` of them; `test` counts all.
        right_only: likewise.
    """

    clips: int
    test: SeedPair
    agreement: float
    both_right: float
    oracle: float
    left_only: list[LoneClip]
    right_only: list[LoneClip]


class Comparison(BaseModel):
    """Two systems on the same clips; differences are of the right one over the left one.

    Attributes:
        differs: what differs in the two specs, but names and resources.
        interval: 95 % of the difference, by bootstrap of `units`: groups of clips that share a scene or film, or clips.
        paired: null where it is not known which clips splits share.
        classes: in the order of labels.
        gaining: the ten classes that gain most, most first.
        losing: the ten that lose most.
        seeds: every seed of one against every seed of the other; empty where each has one.
        overlaps: metrics of boxes; empty unless both have them against the same true boxes.
        notes: why something is null.
    """

    dataset: str
    revision: int
    split: Split
    stream: Stream
    left: Side
    right: Side
    differs: list[SpecDifference]
    difference: float
    interval: Bounds | None
    units: Literal["groups", "clips"] | None
    num_units: int | None
    paired: Paired | None
    categories: list[Change]
    classes: list[Change]
    gaining: list[Change]
    losing: list[Change]
    seeds: list[SeedPair]
    overlaps: list[OverlapChange]
    notes: list[str]

    @classmethod
    def of(cls, found: compare.Comparison, split: Split) -> Self:
        """Shape a comparison."""
        row = found.left.system.result.row
        classes = [Change.model_validate(each) for each in found.classes]
        ordered = sorted(classes, key=lambda each: each.difference)
        return cls(
            dataset=row.dataset,
            revision=row.revision,
            split=split,
            stream=row.stream,
            left=Side.of(found.left),
            right=Side.of(found.right),
            differs=_differs(found.differs),
            difference=found.difference,
            interval=found.interval,
            units=found.units,
            num_units=found.num_units,
            paired=None if found.paired is None else Paired.model_validate(found.paired),
            categories=[Change.model_validate(each) for each in found.categories],
            classes=classes,
            gaining=[each for each in reversed(ordered) if each.difference > 0][:MOST],
            losing=[each for each in ordered if each.difference < 0][:MOST],
            seeds=[SeedPair.model_validate(each) for each in found.seeds],
            overlaps=[OverlapChange.model_validate(each) for each in found.overlaps],
            notes=list(found.notes),
        )


class Gain(BaseModel):
    """A head beside the baseline.

    Attributes:
        differs: what differs in the specs; `left` is the baseline's.
        difference: of top-1 over the baseline's.
        interval: 95 %, by bootstrap, of this head by itself.
        test: null where it is not known which clips splits share; the baseline is the left one.
        adjusted_p: of the test, by Holm's method over all heads.
    """

    head: Side
    differs: list[SpecDifference]
    difference: float
    interval: Bounds | None
    test: SeedPair | None
    adjusted_p: float | None

    @classmethod
    def of(cls, found: controlled.Gain) -> Self:
        """Shape a gain."""
        return cls(
            head=Side.of(found.side),
            differs=_differs(found.differs),
            difference=found.difference,
            interval=found.interval,
            test=None if found.test is None else SeedPair.model_validate(found.test),
            adjusted_p=found.adjusted_p,
        )


class ControlledComparison(BaseModel):
    """Heads on the same features and split; `features` counts the `extract` stages whose outputs all of them saw."""

    dataset: str
    revision: int
    split: Split
    stream: Stream
    baseline: Side
    gains: list[Gain]
    features: int
    units: Literal["groups", "clips"] | None
    num_units: int | None


class DifferenceOfAll(BaseModel):
    """A field of the specs and each one's value, in the order of the systems; null where one lacks it."""

    field: str
    values: list[Any]


class Pair(BaseModel):
    """Two of the systems; the difference is that of the right one over the left one.

    Attributes:
        left: the id of the one experiment.
        right: that of the other.
        difference: of top-1.
        interval: 95 %, by bootstrap, of this pair by itself.
        test: null where it is not known which clips splits share.
        adjusted_p: of the test, by Holm's method over all pairs.
    """

    left: str
    right: str
    difference: float
    interval: Bounds | None
    test: SeedPair | None
    adjusted_p: float | None


class Rates(Shape):
    """The accuracy of each system on a class or a category; `clips` counts a clip in each split."""

    name: str
    category: str | None
    clips: int
    values: list[float]


class Several(BaseModel):
    """Two to five systems on the same clips, in the order in which they were asked for.

    Attributes:
        differs: what is not the same in all specs, but names and resources.
        pairs: each system with each that comes after it.
        classes: the one first on which they differ most.
        notes: why something is null.
    """

    dataset: str
    revision: int
    split: Split
    stream: Stream
    systems: list[Side]
    differs: list[DifferenceOfAll]
    pairs: list[Pair]
    units: Literal["groups", "clips"] | None
    num_units: int | None
    categories: list[Rates]
    classes: list[Rates]
    notes: list[str]

    @classmethod
    def of(cls, found: several.Several, split: Split) -> Self:
        """Shape a comparison."""
        row = found.sides[0].system.result.row
        systems = [Side.of(side) for side in found.sides]
        return cls(
            dataset=row.dataset,
            revision=row.revision,
            split=split,
            stream=row.stream,
            systems=systems,
            differs=[DifferenceOfAll(field=name, values=list(values)) for name, values in found.differs.items()],
            pairs=[_pair(systems, pair) for pair in found.pairs],
            units=found.units,
            num_units=found.num_units,
            categories=[Rates.model_validate(each) for each in found.categories],
            classes=[Rates.model_validate(each) for each in found.classes],
            notes=list(found.notes),
        )


def _pair(systems: Sequence[Side], pair: several.Pair) -> Pair:
    return Pair(
        left=systems[pair.left].experiment_id,
        right=systems[pair.right].experiment_id,
        difference=pair.difference,
        interval=pair.interval,
        test=None if pair.test is None else SeedPair.model_validate(pair.test),
        adjusted_p=pair.adjusted_p,
    )


def _differs(found: Any) -> list[SpecDifference]:
    return [SpecDifference(field=name, left=left, right=right) for name, (left, right) in found.items()]


def number_of(split: Split) -> int | None:
    """Return the number of a split; None of the mean."""
    return None if split == "mean" else int(split)
