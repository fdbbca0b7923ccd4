"""What a result holds beyond its numbers: classes, confusion, calibration, the hardest clips, and intervals.

Of a mean each number is the mean over splits of the mean over seeds; counts of confusion are added up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from sqlalchemy.orm import Session

from services.board import results
from services.board.answers import Answers, of_streams
from services.board.parts import ONE_UNIT, Parts, Tested, by_split, mean_right
from services.board.results import Result
from services.db.tables import ResultRow
from services.errors import NotFound
from services.metrics import METRICS
from services.statistics.calibration import BINS, binned, brier, expected_error

NO_ANSWERS = "what was said of each clip was not kept: an earlier version measured it"
NO_CONFIDENCES = "no calibration: an earlier version measured it, and kept no confidences"
NO_IDS = "clips have no names here: an earlier version measured them"
NO_UNITS = "no bootstrap intervals: it is not known which clips the splits share"

Bounds = tuple[float, float]


@dataclass(frozen=True)
class ClassRate:
    """The top-1 accuracy of a class, None where no split tests it; ``clips`` counts a clip in each split."""

    name: str
    category: str | None
    clips: int
    top1: float | None


@dataclass(frozen=True)
class Bin:
    """Answers whose confidence is above ``lower``, up to ``upper``, over all splits and seeds."""

    lower: float
    upper: float
    answers: int
    confidence: float | None
    top1: float | None


@dataclass(frozen=True)
class Calibration:
    """Whether answers are as often right as they are sure.

    Attributes:
        error: expected calibration error over 15 bins of equal width.
        interval: its bootstrap interval.
        brier: mean squared gap between how sure an answer is and whether it is right.
        confidence: the mean.
    """

    error: float
    interval: Bounds | None
    brier: float
    confidence: float
    bins: tuple[Bin, ...]


@dataclass(frozen=True)
class HardClip:
    """A clip, and what is said of it.

    Attributes:
        clip: its id; None where that is not known.
        rank: how many classes stand before the right one, a mean over seeds.
        predicted: the class that most seeds say.
        confidence: of the answers, a mean over seeds; None where it was not kept.
    """

    clip: str | None
    split: int
    label: str
    predicted: str
    rank: float
    confidence: float | None


@dataclass(frozen=True)
class Evaluation:
    """A result in full; what cannot be told is None or empty, and ``notes`` say why.

    Attributes:
        classes: in the order of labels.
        confusion: answers by right label (row) and predicted label, over all splits and seeds.
        hardest: hardest first.
        intervals: bootstrap intervals of metrics by name, at 95 %; top-1 has Wilson's with its value.
        units: what the bootstrap draws, and ``num_units`` how many of them there are.
    """

    result: Result
    classes: tuple[ClassRate, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()
    calibration: Calibration | None = None
    hardest: tuple[HardClip, ...] = ()
    intervals: Mapping[str, Bounds] = field(default_factory=dict)
    units: Literal["groups", "clips"] | None = None
    num_units: int | None = None
    notes: tuple[str, ...] = ()


def of_result(session: Session, result_id: int, hardest: int = 20) -> Evaluation:
    """Return a result in full.

    Args:
        session: a transaction of the caller.
        result_id: of its row.
        hardest: how many of the hardest clips.

    Raises:
        NotFound: no row has this id.
    """
    row = session.get(ResultRow, result_id)
    if row is None:
        raise NotFound("result", result_id, "GET /experiments/{id}/results has the ids")
    result = next(found for found in results.listing(session, row.experiment_id) if found.row.id == result_id)
    (stream,) = of_streams(session, [(row.experiment_id, row.stream)])
    asked = [
        said
        for (split, seed), said in stream.answers.items()
        if row.split in (None, split) and row.seed in (None, seed)
    ]
    answers = [said for said in asked if said is not None]
    if not answers or len(answers) < len(asked) or row.missing_splits:
        missing = f"no mean: split {', '.join(map(str, row.missing_splits))} is missing"
        return Evaluation(result, notes=(missing if row.missing_splits else NO_ANSWERS,))
    return _evaluated(result, by_split(answers), hardest)


def _evaluated(result: Result, parts: Parts, hardest: int) -> Evaluation:
    tested = Tested({split: answers[0].test for split, answers in parts.items()})
    units, sure = tested.units, all(said.confidences is not None for answers in parts.values() for said in answers)
    unnamed = any(test.ids is None for test in tested.sets.values())
    doubts = {NO_CONFIDENCES: not sure, NO_IDS: unnamed, NO_UNITS: units is None, ONE_UNIT: tested.is_one_unit}
    return Evaluation(
        result,
        classes=_classes(tested, parts),
        confusion=_confusion(tested, parts),
        calibration=_calibration(tested, parts) if sure else None,
        hardest=tuple(_hardest(tested, parts, hardest)),
        intervals=_intervals(tested, parts),
        units=None if units is None else units.kind,
        num_units=None if units is None else units.count,
        notes=tuple(note for note, holds in doubts.items() if holds),
    )


def _classes(tested: Tested, parts: Parts) -> tuple[ClassRate, ...]:
    rates = tested.of_classes(mean_right(parts)).tolist()
    clips = np.sum([test.counts for test in tested.sets.values()], axis=0).tolist()
    names = tested.any.classes
    categories = tested.any.categories or (None,) * len(names)
    return tuple(
        ClassRate(name, category, count, rate if count else None)
        for name, category, count, rate in zip(names, categories, clips, rates, strict=True)
    )


def _confusion(tested: Tested, parts: Parts) -> tuple[tuple[int, ...], ...]:
    size = len(tested.any.classes)
    pairs = np.concatenate([said.test.labels * size + said.predicted for said in _all(parts)])
    return tuple(map(tuple, np.bincount(pairs, minlength=size * size).reshape(size, size).tolist()))


def _calibration(tested: Tested, parts: Parts) -> Calibration:
    per_split = []
    total = np.zeros(BINS * 3)
    for answers in parts.values():
        numbers = []
        for said in answers:
            assert said.confidences is not None
            sums = binned(said.confidences, said.right).sum(axis=0)
            total += sums
            brier_score, confidence = brier(said.confidences, said.right), float(said.confidences.mean())
            numbers.append((float(expected_error(sums)), brier_score, confidence))
        per_split.append(np.mean(numbers, axis=0))
    error, brier_score, confidence = np.mean(per_split, axis=0).tolist()
    bins = tuple(_bin(number, *each) for number, each in enumerate(total.reshape(BINS, 3).tolist()))
    return Calibration(error, tested.calibration_interval(parts), brier_score, confidence, bins)


def _bin(number: int, count: float, confidence: float, right: float) -> Bin:
    means = (confidence / count, right / count) if count else (None, None)
    return Bin(number / BINS, (number + 1) / BINS, round(count), *means)


def _hardest(tested: Tested, parts: Parts, count: int) -> list[HardClip]:
    found = []
    for split, answers in parts.items():
        test, names = tested.sets[split], tested.any.classes
        ranks = np.mean([said.ranks for said in answers], axis=0)
        known = [said.confidences for said in answers if said.confidences is not None]
        sure = np.mean(known, axis=0) if len(known) == len(answers) else np.zeros(len(ranks))
        for place in np.lexsort((np.arange(len(ranks)), -sure, -ranks))[:count].tolist():
            (most, _), *_ = Counter(int(said.predicted[place]) for said in answers).most_common()
            found.append(
                HardClip(
                    clip=None if test.ids is None else test.ids[place],
                    split=split,
                    label=names[int(test.labels[place])],
                    predicted=names[most],
                    rank=float(ranks[place]),
                    confidence=float(sure[place]) if len(known) == len(answers) else None,
                )
            )
    return sorted(found, key=lambda clip: (-clip.rank, -(clip.confidence or 0.0)))[:count]


def _intervals(tested: Tested, parts: Parts) -> dict[str, Bounds]:
    """Return intervals of the metrics that are shares of clips, but the first, and of the mean over classes."""
    shares = {name: metric.within for name, metric in METRICS.items() if metric.within not in (None, 1)}
    found = {name: tested.rate_interval(mean_right(parts, within)) for name, within in shares.items() if within}
    found["mean_class"] = tested.class_interval(mean_right(parts))
    return {name: bounds for name, bounds in found.items() if bounds is not None}


def _all(parts: Parts) -> Sequence[Answers]:
    return [said for answers in parts.values() for said in answers]
