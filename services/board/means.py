"""Rows of results from what was measured: one for each split and seed, the means over seeds, the mean over splits.

What a mean rests on is looked up, not assumed: which splits and seeds there are, and which clips several test sets
have in common. A metric that only some of the parts have, since it is younger than they are, has no mean.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from services.board import hits
from services.board.hits import Hits, Ranked
from services.metrics import METRICS, Metric
from services.revisions import Revision
from services.statistics.intervals import SplitRate, distinct_clips, effective_clips, wilson


@dataclass(frozen=True)
class Measured:
    """The numbers of one stream on one split with one seed.

    Attributes:
        values: by metric.
        categories: top-1 by category, where the dataset's classes have any.
        clips: how many there were.
        ranks: how many classes stand before the right one, for each clip in the order of their ids; None where that was
            not kept, or is not asked for.
        hits: in place of ranks, whether each clip was right, which is what earlier stages said.
        prediction: digest of what was said of each clip.
        truth: digest of what that is compared with.
    """

    stream: str
    split: int
    seed: int
    values: Mapping[str, float]
    categories: Mapping[str, float]
    clips: int
    stage_key: str
    ranks: Sequence[int] | None = None
    hits: Sequence[bool] | None = None
    prediction: str | None = None
    truth: str | None = None

    def right(self, within: int) -> Sequence[bool] | None:
        """Return whether each clip's label is among so many highest scores; None where that is not known."""
        if self.ranks is not None:
            return [rank < within for rank in self.ranks]
        return self.hits if within == 1 else None


@dataclass(frozen=True)
class Value:
    """A number, its sample deviation over seeds, and the bounds of its 95 % interval, where it has them."""

    value: float
    spread: float | None = None
    lower: float | None = None
    upper: float | None = None


@dataclass(frozen=True)
class Row:
    """A row of results, without what all rows of a stream have alike.

    No split is the mean over splits, no seed that over seeds. A row that is ranked has the ``hits`` of its clips, by
    how many highest scores count, where what was said of each clip was kept.
    """

    split: int | None
    seed: int | None = None
    seeds: int = 1
    values: Mapping[str, Value] = field(default_factory=dict)
    clips: int | None = None
    missing_splits: Sequence[int] = ()
    categories: Mapping[str, float] | None = None
    prediction: str | None = None
    stage_key: str | None = None
    hits: Mapping[int, Hits] = field(default_factory=dict)


Parts = Mapping[int, Sequence[Measured]]
"""What was measured with each seed, by split."""


def rows(entries: Sequence[Measured], revision: Revision) -> list[Row]:
    """Return the rows of one stream: those of seeds, those of splits, and the mean."""
    by_split = {split: [e for e in entries if e.split == split] for split in sorted({e.split for e in entries})}
    return [*map(_of_seed, entries), *map(_of_split, by_split.values()), _of_splits(by_split, revision)]


def _of_seed(entry: Measured) -> Row:
    return Row(
        split=entry.split,
        seed=entry.seed,
        values={name: _bounded(METRICS[name], value, entry.clips) for name, value in entry.values.items()},
        clips=entry.clips,
        categories=entry.categories,
        prediction=entry.prediction,
        stage_key=entry.stage_key,
    )


def _of_split(entries: Sequence[Measured]) -> Row:
    """Mean over the seeds of one split; the interval is that of one run, since seeds share their test clips."""
    clips = _clips(entries)
    values = {}
    for metric in _common(entries):
        of_seeds = [entry.values[metric.name] for entry in entries]
        values[metric.name] = _bounded(metric, metric.over_seeds(of_seeds), clips, _deviation(of_seeds))
    return Row(
        split=entries[0].split,
        seeds=len(entries),
        values=values,
        clips=clips,
        categories=_means([entry.categories for entry in entries]),
        hits=_pooled(entries, ()),
    )


def _of_splits(by_split: Parts, revision: Revision) -> Row:
    """Mean over splits, empty until each split of the dataset is there with each seed."""
    seeds = {entry.seed for entries in by_split.values() for entry in entries}
    complete = [split for split, entries in by_split.items() if {entry.seed for entry in entries} == seeds]
    splits = revision.splits or tuple(by_split)
    missing = [split for split in splits if split not in complete]
    if missing:
        return Row(split=None, seeds=len(seeds), missing_splits=missing)
    parts = {split: by_split[split] for split in splits}
    shared = _shared(revision, parts)
    return Row(
        split=None,
        seeds=len(seeds),
        values={metric.name: _mean(metric, parts, shared) for metric in _common(_all(parts))},
        clips=None if shared is None else distinct_clips(_counts(parts), shared),
        categories=_means([_means([entry.categories for entry in entries]) for entries in parts.values()]),
        hits=_pooled(_all(parts), shared or ()),
    )


def _pooled(entries: Sequence[Measured], shared: Sequence[Mapping[int, int]]) -> dict[int, Hits]:
    """Return the hits of all clips; nothing where what was said of some was not kept."""
    answers = {
        (entry.split, entry.seed): Ranked(entry.truth, entry.ranks)
        for entry in entries
        if entry.truth is not None and entry.ranks is not None
    }
    if len(answers) < len(entries):
        return {}
    asked = {metric.within for metric in METRICS.values() if metric.within is not None}
    found = {within: hits.pool(answers, shared, within) for within in sorted(asked)}
    return {within: each for within, each in found.items() if each is not None}


def _mean(metric: Metric, parts: Parts, shared: Sequence[Mapping[int, int]] | None) -> Value:
    """Return a metric's mean over splits; the deviation is that of the seeds' own means over splits.

    Without knowledge of the clips that test sets have in common there is no interval.
    """
    of_splits = {split: metric.over_seeds([e.values[metric.name] for e in entries]) for split, entries in parts.items()}
    of_seeds: dict[int, list[float]] = {}
    for entry in _all(parts):
        of_seeds.setdefault(entry.seed, []).append(entry.values[metric.name])
    value = metric.over_splits(list(of_splits.values()))
    spread = _deviation([metric.over_splits(values) for values in of_seeds.values()])
    if metric.within is None or shared is None:
        return Value(value, spread)
    sets = {
        split: SplitRate(of_splits[split], _clips(entries), _hits(entries, metric.within) if shared else None)
        for split, entries in parts.items()
    }
    return _bounded(metric, value, effective_clips(sets, shared), spread)


def _bounded(metric: Metric, value: float, clips: float, spread: float | None = None) -> Value:
    """Return a value with the interval of one run over some number of clips, if the metric has one."""
    return Value(value, spread) if metric.within is None else Value(value, spread, *wilson(value, clips))


def _shared(revision: Revision, parts: Parts) -> list[dict[int, int]] | None:
    """Return where clips stand that several of the splits test on; None where that is not known.

    A dataset may have more lists than it uses. Lists that are not those that were measured on say nothing.
    """
    if revision.shared is None and len(parts) > 1:
        return None
    clips = _counts(parts)
    among = ({split: index for split, index in indices.items() if split in clips} for indices in revision.shared or ())
    found = [indices for indices in among if len(indices) > 1]
    fits = all(index < clips[split] for indices in found for split, index in indices.items())
    return found if fits else None


def _counts(parts: Parts) -> dict[int, int]:
    return {split: _clips(entries) for split, entries in parts.items()}


def _hits(entries: Sequence[Measured], within: int) -> list[float] | None:
    """Return how often each clip of a split was right, a mean over seeds; None where that is not known of all."""
    hits = [bits for entry in entries if (bits := entry.right(within)) is not None]
    if len(hits) < len(entries) or len({len(bits) for bits in hits}) != 1:
        return None
    return [statistics.fmean(bits) for bits in zip(*hits, strict=True)]


def _all(parts: Parts) -> list[Measured]:
    return [entry for entries in parts.values() for entry in entries]


def _common(entries: Iterable[Measured]) -> list[Metric]:
    """Return the metrics that all have."""
    found = list(entries)
    return [metric for name, metric in METRICS.items() if all(name in entry.values for entry in found)]


def _clips(entries: Sequence[Measured]) -> int:
    return min(entry.clips for entry in entries)


def _deviation(values: Sequence[float]) -> float | None:
    """Return the sample standard deviation (n - 1), which a single value does not have."""
    return statistics.stdev(values) if len(values) > 1 else None


def _means(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of each name that all have."""
    names = [name for name in parts[0] if all(name in part for part in parts)]
    return {name: statistics.fmean(part[name] for part in parts) for name in names}
