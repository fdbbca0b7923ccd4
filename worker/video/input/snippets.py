"""Snippets of clips for networks that are trained end to end: the frames of training, and the views of the test."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from services.specs import Spacing
from worker.video.input.crops import VIEWS, TestCrops
from worker.video.input.dataset import ClipSource, visible_frames
from worker.video.input.protocols import segment_positions, segment_starts
from worker.video.input.sampling import Indices, spaced
from worker.video.input.transforms import Transform
from worker.video.survey.manifest import Clip


class SnippetDataset(Dataset[tuple[Tensor, Tensor, int]]):
    """A frame (or stack) of each of T equal parts of a clip, at random, with the clip's label (TSN, Relational LSTM).

    Item ``i`` is clip ``i``: uint8 (T, C, size, size), the changes of its colours and the label. Frames and transform
    depend on (seed, epoch, clip) alone. Call `set_epoch` before each epoch; with persistent loader workers it reaches
    them too.

    Args:
        clips: the training clips.
        source: reads frames or flow stacks.
        transform: of all T frames of a clip alike.
        seed: of all random choices.
        snippets: T.
        stack: L of the flow stream, for both streams.
        first_seconds: looks at no more than the beginning of a clip.

    Attributes:
        finish: turns bytes and changes of items, stacked, into a ConvNet's input (`Transform.finish`).
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        source: ClipSource,
        transform: Transform,
        *,
        seed: int,
        snippets: int,
        stack: int,
        first_seconds: float | None = None,
    ) -> None:
        self._clips, self._source, self._transform = tuple(clips), source, transform
        self.finish = transform.finish
        self._seed, self._snippets, self._stack, self._first_seconds = seed, snippets, stack, first_seconds
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]

    def set_epoch(self, epoch: int) -> None:
        """Draw other frames and augmentations from now on."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self._clips)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, int]:
        """Return uint8 (T, C, size, size), the changes of its colours and the label."""
        clip = self._clips[index]
        rng = np.random.default_rng([self._seed, int(self._epoch), zlib.crc32(clip.id.encode())])
        length = visible_frames(clip, self._first_seconds)
        frames = centres(segment_starts(length, self._snippets, self._stack, rng), self._stack, length)
        changed = self._transform(self._source.read(clip, frames.tolist(), length), rng)
        return changed, self._transform.colours(rng), clip.label


class ViewDataset(Dataset[Tensor]):
    """The views of each clip whose scores are averaged: item ``i`` is uint8 (V, T, C, size, size) of clip ``i``.

    Args:
        clips: the test clips.
        source: reads frames or flow stacks.
        crops: V of them of each frame.
        frames: T, equally spaced frames of each clip, or with ``positions`` above 1 one of each of T equal parts.
        positions: groups of T frames, each at its own share of every part (Relational LSTM, sec. 5.2); V is a multiple.
        stack: L of the flow stream, for both streams.
        first_seconds: looks at no more than the beginning of a clip.
        spacing: of the T frames, with one position.

    Attributes:
        finish: turns the bytes of an item into a ConvNet's input (`TestCrops.finish`).
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        source: ClipSource,
        crops: TestCrops,
        *,
        frames: int,
        positions: int,
        stack: int,
        first_seconds: float | None = None,
        spacing: Spacing = "even",
    ) -> None:
        self._clips, self._source, self._crops = tuple(clips), source, crops
        self._frames, self._positions, self._stack = frames, positions, stack
        self._first_seconds, self._spacing = first_seconds, spacing
        self.finish = crops.finish

    @property
    def item_bytes(self) -> int:
        """Bytes of one item: all views of a clip, as uint8."""
        views = self._positions * VIEWS[self._crops.crops]
        return views * self._frames * self._crops.format.num_bytes

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self._clips)

    def __getitem__(self, index: int) -> Tensor:
        """Return uint8 (V, T, C, size, size)."""
        clip = self._clips[index]
        length = visible_frames(clip, self._first_seconds)
        groups = view_frames(length, self._frames, self._positions, self._stack, self._spacing)
        frames = self._source.read(clip, groups.flatten().tolist(), length)
        views = self._crops(frames)  # (crops, positions T, C, size, size)
        return views.reshape(-1, self._frames, *views.shape[2:])


def view_frames(num_frames: int, frames: int, positions: int, stack: int, spacing: Spacing = "even") -> Indices:
    """Return the frame numbers (positions, T) of the groups of a clip, as `ViewDataset` chooses them."""
    if positions == 1:
        return spaced(num_frames, frames, stack, spacing)[None]
    return centres(segment_positions(num_frames, frames, positions, stack), stack, num_frames)


def centres(starts: Indices, stack: int, num_frames: int) -> Indices:
    """Return the frames whose flow stacks of L fields begin at ``starts``; both streams look at them.

    The inverse of `worker.video.input.sampling.stack_fields`, held inside the clip.
    """
    return np.minimum(starts + (stack - 1) // 2, num_frames - 1)
