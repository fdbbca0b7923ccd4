"""The clips on which a training chooses its epoch: a part of the train list, drawn by groups, or the test list."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch import nn

from services.params import Frames, FrameViews, SnippetViews, SpacedFeatures, TrainInput
from services.params import Snippets as SnippetSamples
from services.stages import TrainParams
from worker.contract import Reporter, Task
from worker.stages.class_scores import class_scores
from worker.stages.inputs import NetworkInput, open_input
from worker.stages.splits import Division
from worker.training.distributed import World
from worker.training.selection import HeldOut
from worker.video.survey.manifest import Clip, Manifest

Count = Callable[[nn.Module], tuple[int, int]]


def held_out_of(
    division: Division, selection: str, world: World, of_share: Callable[[list[Clip]], Count]
) -> HeldOut | None:
    """Return what a training tries after every epoch, or None where it keeps the last.

    Args:
        division: of the clips.
        selection: of the spec.
        world: this process, which tries its share of the clips.
        of_share: returns what counts the hits on some clips.
    """
    if selection == "last":
        return None
    own = list(division.held_out[world.rank :: world.size])
    return HeldOut("test" if selection == "test" else "validation", of_share(own) if own else lambda _: (0, 0))


def count_of(
    task: Task, params: TrainParams, manifest: Manifest, seen: NetworkInput, report: Reporter
) -> Callable[[list[Clip]], Count]:
    """Return what makes a counter of hits on clips, each of which is seen once: in its middle snippet, or centre crops.

    Args:
        task: says where features, frames and weights come from.
        params: of the training.
        manifest: of the dataset.
        seen: what is trained on; its backbone is shared.
        report: takes warnings.
    """

    def of_share(clips: list[Clip]) -> Count:
        own = params.model_copy(update={"input": _as_test(params.input)})
        tried = open_input(task, own, manifest, clips, report, backbone=seen.backbone)
        labels = np.array([clip.label for clip in clips])

        def count(model: nn.Module) -> tuple[int, int]:
            scores = class_scores(model, tried.views(), "probabilities")
            return sum(int((found.values.argmax(1) == labels[found.clips]).sum()) for found in scores), len(clips)

        return count

    return of_share


def _as_test(look: TrainInput) -> SpacedFeatures | SnippetViews | FrameViews:
    """Return the cheapest test of what is trained on."""
    if isinstance(look, SpacedFeatures):
        return look
    if isinstance(look, SnippetSamples):
        return SnippetViews(length=look.length, count=1)
    frames = {name: value for name, value in dict(look).items() if name in Frames.model_fields}
    return FrameViews(**frames, frames=look.snippets)
