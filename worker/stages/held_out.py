"""The clips that a training tries after every epoch: a part of the train list, drawn by groups, or the test list."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from services.params import Frames, FrameViews, SnippetViews, SpacedFeatures, TrainInput
from services.params import Snippets as SnippetSamples
from services.specs import TrainingSpec
from services.stages import TrainParams
from worker.contract import Reporter, Task
from worker.stages.inputs import NetworkInput, open_input
from worker.stages.splits import Division
from worker.training.distributed import World
from worker.training.loss import clip_probabilities, cross_entropy
from worker.training.selection import HeldOut, Tried
from worker.video.survey.manifest import Clip, Manifest

Trial = Callable[[nn.Module], Tried]


def held_out_of(
    division: Division, training: TrainingSpec, world: World, of_share: Callable[[list[Clip]], Trial]
) -> HeldOut | None:
    """Return what a training tries after every epoch, or None where it tries nothing.

    Args:
        division: of the clips.
        training: says what is held out, and whether it chooses.
        world: this process, which tries its share of the clips.
        of_share: returns what tries a network on some clips.
    """
    if training.held_out is None:
        return None
    own = list(division.held_out[world.rank :: world.size])
    trial = of_share(own) if own else lambda _: Tried(0.0, 0, 0)
    return HeldOut(training.held_out, trial, chooses=training.selection != "last")


def trial_of(
    task: Task, params: TrainParams, manifest: Manifest, seen: NetworkInput, report: Reporter
) -> Callable[[list[Clip]], Trial]:
    """Return what makes a trial on clips, each of which is seen once: in its middle snippet, or centre crops.

    The loss is that of training: a clip's, or the sum over its steps where each of them is classified.

    Args:
        task: says where features, frames and weights come from.
        params: of the training.
        manifest: of the dataset.
        seen: what is trained on; its backbone is shared.
        report: takes warnings.
    """

    def of_share(clips: list[Clip]) -> Trial:
        own = params.model_copy(update={"input": _as_test(params.input)})
        tried = open_input(task, own, manifest, clips, report, backbone=seen.backbone)
        labels = torch.tensor([clip.label for clip in clips])

        def trial(model: nn.Module) -> Tried:
            loss, hits = 0.0, 0
            for numbers, parts in tried.views():
                with torch.inference_mode():
                    logits = torch.cat([model(part).logits.float() for part in parts])
                    own = labels[torch.from_numpy(np.asarray(numbers))].to(logits.device)
                    loss += float(cross_entropy(logits, own))
                    hits += int((clip_probabilities(logits).argmax(1) == own).sum())
            return Tried(loss, hits, len(clips))

        return trial

    return of_share


def _as_test(look: TrainInput) -> SpacedFeatures | SnippetViews | FrameViews:
    """Return the cheapest test of what is trained on."""
    if isinstance(look, SpacedFeatures):
        return look
    if isinstance(look, SnippetSamples):
        return SnippetViews(length=look.length, count=1)
    frames = {name: value for name, value in dict(look).items() if name in Frames.model_fields}
    return FrameViews(**frames, frames=look.snippets)
