"""What the test of a network leaves for pictures: embeddings, memory writes, attention, and strips of a few clips."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models import backbones
from models.backbones import Backbone
from models.parts.output import Output
from services.params import FrameViews, SnippetViews
from services.pictures import MOST_WIDTH, Strip, TestPictures, spaced, spread
from services.stages import ScoreParams
from worker.contract import Reporter, Task
from worker.stages.strips import FrameStrips
from worker.training.batches import Indices
from worker.video.decoding.decode import FrameReader
from worker.video.decoding.limits import Limits
from worker.video.input.crops import TSN_HEIGHT, TSN_WIDTH, VIEWS
from worker.video.input.dataset import chosen_frames, visible_frames
from worker.video.input.protocols import snippets
from worker.video.input.snippets import view_frames
from worker.video.input.transforms import Region, center_region
from worker.video.survey.manifest import Clip, Manifest

MOST_CELLS = 14
"""Rows, and columns, of an attention map that is kept; larger ones are averaged."""
CENTRE_CROP = 4
"""Of five crops, and of ten."""
LARGEST = float(np.finfo(np.float16).max)


class Watched:
    """Watches a network while it scores clips, the first N of which are those of the test.

    Args:
        model: ready for the test.
        params: of the stage.
        clips: the N of the test, in their order.
    """

    def __init__(self, model: nn.Module, params: ScoreParams, clips: Sequence[Clip]) -> None:
        self._params, self._clips = params, clips
        self._places = spread([clip.label for clip in clips], params.pictures) if _frames_are_known(params) else []
        self._embeddings: list[NDArray[np.float16]] = []
        self._writes: list[NDArray[Any]] = []
        self._probability: list[NDArray[Any]] = []
        self._attention: dict[int, NDArray[Any]] = {}
        self._directions: Tensor | None = None
        self._inputs: list[Tensor] = []
        self._threshold: float | None = getattr(model, "threshold", None)
        self._watch(model)

    def _watch(self, model: nn.Module) -> None:
        """Have the last linear layer named `classifier` say what it is given, for networks that do not say it."""
        named = [part for name, part in model.named_modules() if name.split(".")[-1] == "classifier"]
        linear = [part for part in named if isinstance(part, nn.Linear)]
        if linear:
            linear[-1].register_forward_pre_hook(lambda _, given: self._inputs.append(given[0]))

    def __call__(self, numbers: Indices, outputs: Sequence[Output]) -> None:
        """Take what the network returned for the views of some clips."""
        given, self._inputs = self._inputs, []
        own = [place for place, number in enumerate(numbers) if number < len(self._clips)]
        if not own:
            return
        said = [output.embedding for output in outputs]
        found = [each for each in said if each is not None] or given
        if found:
            self._embed(torch.cat([_over_steps(each) for each in found]), len(numbers), own)
        views = sum(len(output.logits) for output in outputs) // len(numbers)
        if outputs[0].writes is not None:
            self._writes.append(self._shown([output.writes for output in outputs], views, own))
            self._probability.append(self._shown([output.write_probability for output in outputs], views, own))
        if outputs[0].attention is not None:
            wanted = [place for place in own if int(numbers[place]) in self._places]
            if wanted:
                maps = self._shown([output.attention for output in outputs], views, wanted)
                self._attention |= {int(numbers[place]): each for place, each in zip(wanted, maps, strict=True)}

    def _embed(self, found: Tensor, clips: int, own: Sequence[int]) -> None:
        """Keep the mean over the views of each clip, of a bounded width."""
        means = found.view(clips, -1, found.shape[-1]).mean(1)[own]
        if means.shape[1] > MOST_WIDTH:
            if self._directions is None:
                drawn = torch.randn(means.shape[1], MOST_WIDTH, generator=torch.Generator().manual_seed(0))
                self._directions = (drawn / MOST_WIDTH**0.5).to(means.device)
            means = means @ self._directions
        self._embeddings.append(means.clamp(-LARGEST, LARGEST).cpu().numpy().astype(np.float16))

    def _shown(self, parts: Sequence[Tensor | None], views: int, own: Sequence[int]) -> NDArray[np.float32]:
        """Return what is known of the view that pictures show, of some clips."""
        whole = torch.cat([part for part in parts if part is not None])
        of_clips = whole.view(-1, views, *whole.shape[1:])
        return of_clips[own, shown_view(self._params, views)].float().cpu().numpy()

    def pictures(self, task: Task, manifest: Manifest, backbone: Backbone | None, report: Reporter) -> TestPictures:
        """Return what was seen, with strips of a few clips."""
        reader = FrameReader(1, task.threads if task.device == "cpu" else 1, Limits.of(task))
        strips = FrameStrips(manifest, reader, report)
        size = self._input_size(backbone)
        found = [self._strip(strips, place, size) for place in self._places]
        return TestPictures(
            embeddings=np.concatenate(self._embeddings) if self._embeddings else None,
            projected=self._directions is not None,
            writes=np.concatenate(self._writes).astype(np.uint8) if self._writes else None,
            probability=np.concatenate(self._probability).astype(np.float16) if self._probability else None,
            threshold=self._threshold if self._writes else None,
            strips=tuple(strip for strip in found if strip is not None),
        )

    def _input_size(self, backbone: Backbone | None) -> int:
        """Return the size of the ConvNet's input where it says what a map covers; 0 where nothing needs it."""
        if not self._attention:
            return 0
        assert self._params.sampled is not None or backbone is not None
        own = backbone or backbones.build(self._params.sampled.backbone if self._params.sampled else "")
        return own.format.size

    def _strip(self, strips: FrameStrips, place: int, size: int) -> Strip | None:
        clip = self._clips[place]
        frames = shown_frames(self._params, clip)
        steps = spaced(len(frames))
        numbers = frames[steps].tolist()
        images = strips.images(clip, numbers)
        if images is None:
            return None
        maps = self._attention.get(place)
        return Strip(
            clip=clip.id,
            steps=tuple(steps.tolist()),
            frames=tuple(numbers),
            images=images,
            size=(clip.width, clip.height),
            region=seen_region(self._params, clip, size) if size else (0.0, 0.0, clip.width, clip.height),
            attention=None if maps is None else _reduced(maps[steps]),
        )


def shown_view(params: ScoreParams, views: int) -> int:
    """Return which of the views of a clip pictures show: the centre crop, of the group, or snippet, in the middle."""
    look = params.input
    if not isinstance(look, FrameViews):
        return views // 2
    crop = CENTRE_CROP if VIEWS[look.crops] > 1 else 0
    return crop * look.positions + look.positions // 2


def shown_frames(params: ScoreParams, clip: Clip) -> Indices:
    """Return the frame of each step of the view that pictures show, ``(T,)``."""
    look = params.input
    if isinstance(look, FrameViews):
        length = visible_frames(clip, look.first_seconds)
        groups = view_frames(length, look.frames, look.positions, max(1, look.flow_stack), look.spacing)
        group: Indices = groups[look.positions // 2]
        return group
    sampled = params.sampled
    assert sampled is not None
    frames = chosen_frames(clip, sampled.frames, sampled.flow_stack, sampled.first_seconds, sampled.spacing)
    if isinstance(look, SnippetViews):
        snippet: Indices = frames[snippets(len(frames), look.count, look.length)[look.count // 2]]
        return snippet
    return frames


def seen_region(params: ScoreParams, clip: Clip, size: int) -> tuple[float, float, float, float]:
    """Return left, top, width and height of what a network saw of a clip's frames in that view, in their own pixels."""
    look = params.input
    crops = look.crops if isinstance(look, FrameViews) else "stretch" if _stretched(params) else "center"
    if crops == "stretch":
        region = Region(0, 0, clip.height, clip.width)
    elif crops == "center":
        region = center_region(clip.height, clip.width, size)
    else:  # the middle of 340x256 pixels, or in proportion
        height, width = clip.height * 224 / TSN_HEIGHT, clip.width * 224 / TSN_WIDTH
        region = Region((clip.height - height) / 2, (clip.width - width) / 2, height, width)
    return region.left, region.top, region.width, region.height


def _over_steps(given: Tensor) -> Tensor:
    """Return the mean of a classifier's input over steps, ``(n, D)`` of ``(n, ..., D)``."""
    return given.float() if given.ndim == 2 else given.float().flatten(1, -2).mean(1)


def _frames_are_known(params: ScoreParams) -> bool:
    return isinstance(params.input, FrameViews) or params.sampled is not None


def _stretched(params: ScoreParams) -> bool:
    return params.sampled is not None and params.sampled.crop == "stretch"


def _reduced(maps: NDArray[np.float32]) -> NDArray[np.float16]:
    """Return shares ``(S, h, w)`` on a grid of bounded size; they still sum to 1 over positions."""
    height, width = maps.shape[1:]
    if max(height, width) <= MOST_CELLS:
        return maps.astype(np.float16)
    size = (min(height, MOST_CELLS), min(width, MOST_CELLS))
    means = functional.adaptive_avg_pool2d(torch.from_numpy(maps)[:, None], size)[:, 0].numpy()
    found: NDArray[np.float16] = (means / means.sum((1, 2), keepdims=True)).astype(np.float16)
    return found
