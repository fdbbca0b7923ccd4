"""Accuracies of a system over parts of its clips, and their intervals, from the answers behind a result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from services.board.answers import Answers, Floats, TestSet, Units, first_places, units_of
from services.statistics import bootstrap
from services.statistics.calibration import BINS, binned, expected_error

Parts = Mapping[int, Sequence[Answers]]
"""Answers of each seed, by split."""
ONE_UNIT = "no bootstrap intervals: all test clips are of one group"
MOST_SUMS = 20_000_000
"""Numbers of classes by units above which there is no interval of the mean over classes: 160 MB."""


@dataclass(frozen=True, eq=False)
class Tested:
    """The test sets of some splits, on which one or more systems were measured; a mean over splits weighs them alike.

    Attributes:
        sets: by split.
    """

    sets: Mapping[int, TestSet]

    @cached_property
    def units(self) -> Units | None:
        """What a bootstrap draws; None where it is not known which clips several splits share."""
        return units_of(self.sets)

    @property
    def is_one_unit(self) -> bool:
        """Whether all clips are of one unit: each draw would meet the same, and an interval have no width."""
        return self.units is not None and self.units.count == 1

    @cached_property
    def once(self) -> Mapping[int, NDArray[np.bool_]] | None:
        """Which clips no earlier split has; None where that is not known."""
        return first_places(self.sets)

    @property
    def any(self) -> TestSet:
        """The first; all have the same classes."""
        return next(iter(self.sets.values()))

    def rate_interval(self, values: Mapping[int, Floats]) -> tuple[float, float] | None:
        """Return the interval of the mean over splits of the mean over clips of some values, (N,) by split."""
        if self.units is None or self.is_one_unit:
            return None
        rows = [self._sums(split, np.stack([found, np.ones(len(found))], axis=1)) for split, found in values.items()]
        sums = bootstrap.resampled(np.concatenate(rows, axis=1))
        return _interval(
            np.mean([_shares(sums[:, at], sums[:, at + 1]) for at in range(0, 2 * len(values), 2)], axis=0)
        )

    def class_interval(self, values: Mapping[int, Floats]) -> tuple[float, float] | None:
        """Return the interval of the mean over splits of the mean over classes of each one's mean over clips."""
        classes = len(self.any.classes)
        if self.units is None or self.is_one_unit or 2 * classes * self.units.count > MOST_SUMS:
            return None
        samples = []
        for split, found in values.items():
            labels = np.eye(classes)[self.sets[split].labels]
            rows = self._sums(split, np.concatenate([labels * found[:, None], labels], axis=1))
            hits, clips = np.split(bootstrap.resampled(rows, alike=True), 2, axis=1)
            samples.append(_shares(_shares(hits, clips, empty=0.0).sum(axis=1), (clips > 0).sum(axis=1)))
        return _interval(np.mean(samples, axis=0))

    def calibration_interval(self, parts: Parts) -> tuple[float, float] | None:
        """Return the interval of the calibration error, the mean of those of all splits and seeds."""
        if self.units is None or self.is_one_unit:
            return None
        samples = []
        for split, answers in parts.items():
            for said in answers:
                assert said.confidences is not None
                sums = bootstrap.resampled(self._sums(split, binned(said.confidences, said.right)), alike=True)
                there = sums.reshape(len(sums), BINS, 3)[..., 0].sum(axis=1) > 0
                samples.append(np.where(there, expected_error(np.where(there[:, None], sums, 1.0)), np.nan))
        return _interval(np.mean(samples, axis=0))

    def of_classes(self, values: Mapping[int, Floats]) -> Floats:
        """Return the mean of each class's clips, (K,): the mean over splits that have the class, NaN where none has."""
        return _mean(
            [_shares(self._by_class(split, found), self.sets[split].counts) for split, found in values.items()]
        )

    def of_categories(self, values: Mapping[int, Floats]) -> dict[str, float]:
        """Return the mean of each category's clips, pooled, as the mean over splits; nothing without categories."""
        names = self.any.categories
        if names is None:
            return {}
        found = {}
        for name in sorted(set(names)):
            own = np.array([other == name for other in names])
            rates = [
                _shares(self._by_class(split, each)[own].sum(), self.sets[split].counts[own].sum())
                for split, each in values.items()
            ]
            found[name] = float(_mean(rates))
        return {name: rate for name, rate in found.items() if not np.isnan(rate)}

    def _by_class(self, split: int, values: Floats) -> Floats:
        found: Floats = np.bincount(self.sets[split].labels, values, len(self.any.classes)).astype(np.float64)
        return found

    def _sums(self, split: int, values: Floats) -> Floats:
        assert self.units is not None
        return bootstrap.sums(self.units.of[split], values, self.units.count)


def by_split(answers: Sequence[Answers]) -> dict[int, list[Answers]]:
    """Return answers by split."""
    found: dict[int, list[Answers]] = {}
    for said in answers:
        found.setdefault(said.split, []).append(said)
    return found


def mean_right(parts: Parts, within: int = 1) -> dict[int, Floats]:
    """Return for each clip of each split how often its label is among so many highest scores, a mean over seeds."""
    return {split: np.mean([said.ranks < within for said in answers], axis=0) for split, answers in parts.items()}


def _shares(hits: NDArray[np.floating], clips: NDArray[np.number], empty: float = np.nan) -> Floats:
    """Return ratios; those of nothing are ``empty``."""
    found: Floats = np.divide(hits, clips, out=np.full(np.shape(hits), empty), where=np.asarray(clips) > 0)
    return found


def _mean(rates: Sequence[Floats]) -> Floats:
    """Return the mean over splits of what is no NaN, NaN where all are."""
    stacked = np.stack([np.asarray(rate, np.float64) for rate in rates])
    known = ~np.isnan(stacked)
    return _shares(np.where(known, stacked, 0.0).sum(axis=0), known.sum(axis=0))


def _interval(samples: Floats) -> tuple[float, float] | None:
    """Return the bounds of samples; one in which some split had no clip says nothing."""
    finite = samples[np.isfinite(samples)]
    return bootstrap.interval(finite) if len(finite) else None
