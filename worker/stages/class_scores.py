"""The scores that a network gives to clips, each the mean over its views."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import nn

from models.parts.output import Output
from services.scores.files import ScoreKind, Scores
from worker.stages.inputs import Views
from worker.training.batches import Indices
from worker.training.loss import clip_logits, clip_probabilities

Watch = Callable[[Indices, Sequence[Output]], None]
"""Sees the numbers ``(n,)`` of clips, and what a network returned for their views, in parts of ``(n V, ...)``."""


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


def class_scores(
    model: nn.Module, views: Iterable[Views], kind: ScoreKind, watch: Watch | None = None
) -> Iterator[ClassScores]:
    """Yield the scores of clips, in their order.

    Args:
        model: in evaluation mode.
        views: of the clips.
        kind: what is averaged over views.
        watch: sees what the network returns.
    """
    average = clip_probabilities if kind == "probabilities" else clip_logits
    for clips, parts in views:
        with torch.inference_mode():
            outputs = [model(part) for part in parts]
            found = torch.cat([average(output.logits.double()) for output in outputs])
            of_clips = found.view(len(clips), -1, found.shape[-1])
            if watch is not None:
                watch(clips, outputs)
        yield ClassScores(clips, of_clips.mean(1).cpu().numpy(), of_clips.shape[1])
