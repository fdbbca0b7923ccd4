"""Every metric once: its names, its unit, which end is better, and how several values become one.

A share of clips whose label is among the k highest scores is a line of ``METRICS`` and nothing more. Any other metric
is such a line and a function in ``worker/stages/metrics.py``. Rows, requests, pages, commands and MLflow read this.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

Unit = Literal["%", ""]


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
        over_seeds: makes one value of a split of those of its seeds.
        over_splits: makes one value of those of several splits.
    """

    name: str
    title: str
    unit: Unit = "%"
    higher_is_better: bool = True
    within: int | None = None
    over_seeds: Callable[[Sequence[float]], float] = fmean
    over_splits: Callable[[Sequence[float]], float] = fmean

    def merit(self, value: float) -> float:
        """Return a number that is higher where a value is better, and equal where values are; it is its own inverse."""
        return value if self.higher_is_better else -value

    def shown(self, value: float, decimals: int) -> str:
        """Word a value in its unit, without the unit's sign; a plain number has two decimals more than a percentage."""
        return f"{100 * value:.{decimals}f}" if self.unit == "%" else f"{value:.{decimals + 2}f}"


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("top1", "Top-1 accuracy", within=1),
        Metric("top5", "Top-5 accuracy", within=5),
        Metric("mean_class", "Mean class accuracy"),
    )
}
"""By name, in the order in which they are shown; the first one is what a board ranks unless another is named."""
PRIMARY = next(iter(METRICS))
