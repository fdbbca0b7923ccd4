"""Accuracies of class scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from worker.stages.scores import Labels, Scores


@dataclass(frozen=True)
class Metrics:
    """How often the scores are right, each accuracy from 0 to 1.

    Attributes:
        top1: share of clips whose label has the highest score.
        top5: share of clips whose label is among the five highest, or among all where there are fewer classes.
        mean_class: mean over classes of each one's top-1 accuracy, as TSN's code reports it.
        correct: clips whose label has the highest score.
        clips: number of clips.
        per_class: top-1 accuracy by label, of the classes that have clips.
        per_category: top-1 accuracy by category, pooled over its clips, of those that have clips (MATDL, Table 1).
    """

    top1: float
    top5: float
    mean_class: float
    correct: int
    clips: int
    per_class: dict[int, float]
    per_category: dict[str, float]

    def numbers(self) -> dict[str, float]:
        """Return all but the accuracies of parts."""
        return {name: getattr(self, name) for name in ("top1", "top5", "mean_class", "correct", "clips")}


def measure(scores: Scores, labels: Labels, categories: Sequence[str] | None = None) -> Metrics:
    """Compare scores with labels; of equal scores the lower label counts as the higher score.

    Args:
        scores: float (N, K).
        labels: int (N,).
        categories: that of each of the K classes, if they have any.
    """
    ranks = ranks_of(scores, labels)
    hits = ranks == 0
    per_class = {int(label): float(hits[labels == label].mean()) for label in np.unique(labels)}
    of_clips = np.array(categories)[labels] if categories is not None else np.array([])
    per_category = {str(name): float(hits[of_clips == name].mean()) for name in np.unique(of_clips)}
    return Metrics(
        top1=float(hits.mean()),
        top5=float((ranks < 5).mean()),
        mean_class=float(np.mean(list(per_class.values()))),
        correct=int(hits.sum()),
        clips=len(labels),
        per_class=per_class,
        per_category=per_category,
    )


def ranks_of(scores: Scores, labels: Labels) -> Labels:
    """Return how many classes have a higher score than each clip's own, int (N,); arguments as for `measure`."""
    own = scores[np.arange(len(labels)), labels][:, None]
    before = np.arange(scores.shape[1]) < labels[:, None]
    ranks: Labels = ((scores > own) | ((scores == own) & before)).sum(axis=1)
    return ranks
