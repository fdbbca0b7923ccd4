"""The metrics of class scores, and the accuracies of classes and categories."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from services.metrics import Metric, of_scores
from services.scores.files import Labels, Scores


@dataclass(frozen=True)
class Scored:
    """Scores of N clips beside their labels; of equal scores the lower label counts as the higher score.

    Attributes:
        scores: float (N, K), N at least 1.
        labels: int (N,).
    """

    scores: Scores
    labels: Labels

    @cached_property
    def ranks(self) -> Labels:
        """How many classes stand before each clip's own, int (N,); 0 where it has the highest score."""
        own = self.scores[np.arange(len(self.labels)), self.labels][:, None]
        before = np.arange(self.scores.shape[1]) < self.labels[:, None]
        ranks: Labels = ((self.scores > own) | ((self.scores == own) & before)).sum(axis=1)
        return ranks

    def of(self, metric: Metric) -> float:
        """Return a metric of these clips."""
        if metric.within is not None:
            return float((self.ranks < metric.within).mean())
        return MEASURES[metric.name](self)

    def by_class(self) -> dict[int, float]:
        """Return the top-1 accuracy by label, of the classes that have clips."""
        return {int(label): self._top1_of(self.labels == label) for label in np.unique(self.labels)}

    def by_category(self, categories: Sequence[str]) -> dict[str, float]:
        """Return the top-1 accuracy by category, pooled over its clips, of those that have clips (MATDL, Table 1).

        Args:
            categories: that of each of the K classes.
        """
        of_clips = np.array(categories)[self.labels]
        return {str(name): self._top1_of(of_clips == name) for name in np.unique(of_clips)}

    def _top1_of(self, chosen: NDArray[np.bool_]) -> float:
        return float((self.ranks[chosen] == 0).mean())


def mean_class(scored: Scored) -> float:
    """Return the mean over classes of each one's top-1 accuracy, as TSN's code reports it."""
    return float(np.mean(list(scored.by_class().values())))


MEASURES: Mapping[str, Callable[[Scored], float]] = {"mean_class": mean_class}
"""How each metric of class scores is computed that is no share of clips by the rank of their label."""


@dataclass(frozen=True)
class Metrics:
    """How good scores are.

    Attributes:
        values: of all metrics of class scores, by name.
        correct: clips whose label has the highest score.
        clips: number of clips.
        per_class: top-1 accuracy by label, of the classes that have clips.
        per_category: top-1 accuracy by category, of those that have clips.
        answers: of each clip the label with the highest score, and how many classes stand before its own, int (N, 2).
    """

    values: dict[str, float]
    correct: int
    clips: int
    per_class: dict[int, float]
    per_category: dict[str, float]
    answers: Labels

    def numbers(self) -> dict[str, float]:
        """Return all but the accuracies of parts."""
        return {**self.values, "correct": self.correct, "clips": self.clips}


def measure(scores: Scores, labels: Labels, categories: Sequence[str] | None = None) -> Metrics:
    """Compare scores with labels.

    Args:
        scores: float (N, K).
        labels: int (N,).
        categories: that of each of the K classes, if they have any.
    """
    scored = Scored(scores, labels)
    return Metrics(
        values={name: scored.of(metric) for name, metric in of_scores().items()},
        correct=int((scored.ranks == 0).sum()),
        clips=len(labels),
        per_class=scored.by_class(),
        per_category={} if categories is None else scored.by_category(categories),
        answers=np.stack([scores.argmax(axis=1), scored.ranks], axis=1),
    )
