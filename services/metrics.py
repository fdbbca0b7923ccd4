"""Every metric once: its names, its unit, which end is better, and how several values become one.

A share of clips whose label is among the k highest scores is a line of ``METRICS`` and nothing more. Any other metric
of class scores is such a line and a function in ``worker/stages/metrics.py``; one of boxes is what the stage `localize`
says under its name. Rows, requests, pages, commands and MLflow read this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import fsum
from typing import Literal, NamedTuple

Unit = Literal["%", ""]


def mean(values: Sequence[float]) -> float:
    """Return the mean, as `statistics.fmean` has it, whose module takes long to load for a command."""
    return fsum(values) / len(values)


class Overlap(NamedTuple):
    """Where a metric of boxes stands in the summary of `localize`.

    Attributes:
        measure: ``map``, the video mAP, or ``recall``.
        iou: threshold of the intersection over union, as text; ``0.5:0.95`` is the mean over ten of them.
    """

    measure: Literal["map", "recall"]
    iou: str


@dataclass(frozen=True)
class Metric:
    """What is known of a metric before anything is measured.

    Attributes:
        name: in results, requests, commands and MLflow, at most 40 characters.
        title: for people.
        unit: ``%`` for a share between 0 and 1, which people read in hundredths; nothing for a plain number.
        higher_is_better: which end of a board comes first. Stored results are ordered by it: see `merit`.
        within: for the share of clips whose label is among this many highest scores; it has Wilson's interval. None
            for any other metric, which has no interval.
        overlap: of a metric of boxes; None for one of class scores.
        over_seeds: makes one value of a split of those of its seeds.
        over_splits: makes one value of those of several splits.
    """

    name: str
    title: str
    unit: Unit = "%"
    higher_is_better: bool = True
    within: int | None = None
    overlap: Overlap | None = None
    over_seeds: Callable[[Sequence[float]], float] = mean
    over_splits: Callable[[Sequence[float]], float] = mean

    def merit(self, value: float) -> float:
        """Return a number that is higher where a value is better, and equal where values are; it is its own inverse."""
        return value if self.higher_is_better else -value

    def shown(self, value: float, decimals: int) -> str:
        """Word a value in its unit, without the unit's sign; a plain number has two decimals more than a percentage."""
        return f"{100 * value:.{decimals}f}" if self.unit == "%" else f"{value:.{decimals + 2}f}"


IOUS = (0.05, 0.1, 0.125, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75)
"""Thresholds of boxes: those of VideoLSTM's sec. 5.4 that are named, and those at which others report."""
MEAN_IOUS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
"""Over which the corrected annotations of UCF101-24 report a mean."""
MEAN_IOU = "0.5:0.95"


def _of_boxes() -> Iterator[Metric]:
    for iou in map("{:g}".format, IOUS):
        yield Metric(f"video_map_{iou}", f"Video mAP at IoU {iou}", overlap=Overlap("map", iou))
    yield Metric("video_map_mean", f"Video mAP, mean over IoU {MEAN_IOU}", overlap=Overlap("map", MEAN_IOU))
    for iou in map("{:g}".format, IOUS):
        yield Metric(f"box_recall_{iou}", f"Recall of boxes at IoU {iou}", overlap=Overlap("recall", iou))


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("top1", "Top-1 accuracy", within=1),
        Metric("top5", "Top-5 accuracy", within=5),
        Metric("mean_class", "Mean class accuracy"),
        *_of_boxes(),
    )
}
"""By name, in the order in which they are shown; the first one is what a board ranks unless another is named."""
PRIMARY = next(iter(METRICS))


def of_scores() -> dict[str, Metric]:
    """Return the metrics of class scores, by name."""
    return {name: metric for name, metric in METRICS.items() if metric.overlap is None}


def of_boxes() -> dict[str, Metric]:
    """Return the metrics of boxes, by name."""
    return {name: metric for name, metric in METRICS.items() if metric.overlap is not None}
