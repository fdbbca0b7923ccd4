"""The scores that a network gives to clips, each the mean over its views."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import nn

from services.scores.files import ScoreKind, Scores
from worker.stages.inputs import Views
from worker.training.batches import Indices
from worker.training.loss import clip_logits, clip_probabilities


class ClassScores(NamedTuple):
    """Of n clips.

    Attributes:
        clips: their numbers, ``(n,)``.
        values: ``(n, K)``.
        views: how many each value is the mean of.
    """

    clips: Indices
    values: Scores
    views: int


def class_scores(model: nn.Module, views: Iterable[Views], kind: ScoreKind) -> Iterator[ClassScores]:
    """Yield the scores of clips, in their order.

    Args:
        model: in evaluation mode.
        views: of the clips.
        kind: what is averaged over views.
    """
    average = clip_probabilities if kind == "probabilities" else clip_logits
    for clips, parts in views:
        with torch.inference_mode():
            found = torch.cat([average(model(part).logits.double()) for part in parts])
            of_clips = found.view(len(clips), -1, found.shape[-1])
        yield ClassScores(clips, of_clips.mean(1).cpu().numpy(), of_clips.shape[1])
