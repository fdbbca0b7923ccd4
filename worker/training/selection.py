"""Clips that are tried after every epoch, and which epoch's weights a training keeps: the last, or the best on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

from torch import nn


class Tried(NamedTuple):
    """What a network reached on some clips: the sum of their losses, the hits, and how many clips those are."""

    loss: float
    hits: int
    clips: int


class HeldOut(NamedTuple):
    """Clips that a network is not trained on, and is tried on after every epoch.

    Attributes:
        name: whose they are; their loss is ``<name>_loss``, the mean over clips, their accuracy ``<name>_accuracy``.
        trial: tries a network in evaluation mode on this process's share of the clips.
        chooses: whether the epoch that is best on them is kept, and no gain may end the training.
    """

    name: Literal["validation", "test"]
    trial: Callable[[nn.Module], Tried]
    chooses: bool = True

    @property
    def metric(self) -> str:
        """The name of the accuracy in a history."""
        return f"{self.name}_accuracy"


def best_epoch(history: Sequence[Mapping[str, float]], metric: str) -> int:
    """Return the epoch, from 1, with the highest value of a metric; the first of equal ones."""
    return max(range(len(history)), key=lambda index: (history[index][metric], -index)) + 1


def is_over(history: Sequence[Mapping[str, float]], metric: str, patience: int | None) -> bool:
    """Say whether as many epochs in a row as the patience were no better than the best before."""
    return patience is not None and len(history) > 0 and len(history) - best_epoch(history, metric) >= patience
