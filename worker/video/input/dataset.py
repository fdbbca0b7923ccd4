"""Clips as PyTorch datasets: random samples for training a ConvNet, spaced frames for its features.

    sources   `RgbSource` and `FlowSource` read frames or flow stacks of a clip, uint8
    datasets  `FrameDataset` (training) and `ClipDataset` (features) choose, transform and label them

Every random choice depends on (seed, epoch, clip, sample) alone, so that results do not change with the number of
loader workers, their order, or the index of a clip in the list.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from services.errors import DataError
from services.specs import FLOW_SHORT_SIDE, Spacing
from services.words import counted
from worker.video.decoding.decode import MAX_CLIPS, DecodeFailed, FrameReader, decode_clip
from worker.video.decoding.limits import LIMITS, Limits
from worker.video.flow.storage import FLOW_FILE, SUFFIXES, FlowReader, open_flow
from worker.video.input.frames import FrameStore
from worker.video.input.protocols import first_seconds as seconds_of
from worker.video.input.sampling import Indices, random_frame, spaced, stack_fields
from worker.video.input.transforms import Transform
from worker.video.mapped import FEW, OpenReaders, Use, most_readers
from worker.video.survey.manifest import Clip

CACHE_BYTES = 2**30
BLOCK_FRAMES = 64  # as many flow stacks of 20 channels, as float32, take 257 MB


class ClipSource(Protocol):
    """Reads frames or flow stacks of a clip.

    Attributes:
        channels: C, 3 for rgb and 2L for flow.
    """

    channels: int

    def read(self, clip: Clip, frames: Sequence[int], visible: int | None = None) -> Tensor:
        """Return uint8 (N, C, H, W) for N frame numbers, in the given order, repeats allowed.

        Args:
            clip: of T frames.
            frames: numbers in [0, T - 1], or below ``visible``.
            visible: how many frames may be looked at, the clip's first ones; all when None.
        """
        ...


class RgbSource:
    """Decodes frames; clips are kept decoded in memory while they fit into a budget, the rest is decoded each time.

    With loader workers each process has a cache of its own: divide the budget.

    Args:
        root: folder of the clips.
        cache_bytes: budget of decoded frames in bytes; none says that clips are read once.
        store: decoded frames on disk; it is filled only where clips are read again.
        threads: that decode one clip; 1 is right where clips are read in parallel.
        limits: how large frames may be, and what those of one read may take.
    """

    channels = 3

    def __init__(
        self,
        root: Path,
        cache_bytes: int = CACHE_BYTES,
        store: FrameStore | None = None,
        threads: int = 1,
        limits: Limits = LIMITS,
    ) -> None:
        self._root = root
        self._left_bytes = cache_bytes
        self._store, self._fills_store = store, cache_bytes > 0
        self._clips: dict[str, NDArray[np.uint8]] = {}
        self._threads, self._limits = threads, limits
        self._reader = FrameReader(MAX_CLIPS if cache_bytes > 0 else FEW, threads, limits)

    def read(self, clip: Clip, frames: Sequence[int], visible: int | None = None) -> Tensor:  # noqa: ARG002 - only flow
        """Return uint8 (N, 3, H, W), in memory with the channels of a pixel side by side.

        Raises:
            DecodeFailed: the clip does not decode, or no longer has the frames of the manifest.
        """
        path = self._root / clip.path
        num_bytes = clip.frames * clip.height * clip.width * 3
        stored = self._stored(clip)
        if stored is None and clip.id not in self._clips and num_bytes <= self._left_bytes:
            self._clips[clip.id] = self._decode(clip)
            self._left_bytes -= num_bytes
        cached = self._clips.get(clip.id) if stored is None else stored
        images = self._reader.read(path, frames, paired=clip.paired) if cached is None else cached[list(frames)]
        return torch.from_numpy(images).permute(0, 3, 1, 2)

    def _stored(self, clip: Clip) -> NDArray[np.uint8] | None:
        """Return the frames of a clip from the store, which keeps them from now on if it has room."""
        if self._store is None or clip.id in self._clips:
            return None
        found = self._store.find(clip)
        if found is not None or not self._fills_store:
            return found
        return self._store.add(clip, lambda: self._decode(clip))

    def _decode(self, clip: Clip) -> NDArray[np.uint8]:
        path = self._root / clip.path
        decoded = decode_clip(path, threads=self._threads, limits=self._limits)
        if len(decoded) != clip.frames:
            raise DecodeFailed(
                path, len(decoded), f"manifest has {counted(clip.frames, 'frame')}, {len(decoded)} decode"
            )
        return decoded


class FlowSource:
    """Reads stacks of L flow fields from the memory-mapped files of the `flow` stages.

    Args:
        folders: output folders of all shards.
        stack: L, fields in a stack.
        use: of a clip, which decides how many files stay open.

    Raises:
        ValueError: no folder was given.
    """

    def __init__(self, folders: Sequence[Path], stack: int, use: Use = "again") -> None:
        if not folders:
            raise ValueError("folders: got none, allowed: one or more")
        self._folders, self._stack = tuple(folders), stack
        self.channels = 2 * stack
        self._maps: OpenReaders[FlowReader] = OpenReaders(most_readers(use))

    def read(self, clip: Clip, frames: Sequence[int], visible: int | None = None) -> Tensor:
        """Return uint8 (N, 2L, H, W), channels x1, y1, x2, y2, ...: the stack around each frame.

        Raises:
            DataError: no shard has the clip, its field count is not the manifest's frames - 1, or its size is not what
                the spec says; or a single frame may be looked at.
        """
        fields = self._fields(clip)
        stacks = fields[clip_stacks(clip, frames, self._stack, visible)]  # (N, L, 2, H, W)
        return torch.from_numpy(stacks.reshape(len(frames), self.channels, *fields.shape[2:]))

    def _fields(self, clip: Clip) -> FlowReader:
        return self._maps.get(clip.id, lambda: self._open(clip))

    def _open(self, clip: Clip) -> FlowReader:
        names = [f"{clip.id}{suffix}" for suffix in sorted(set(SUFFIXES.values()))]
        found = [path for folder in self._folders for name in names if (path := folder / name).is_file()]
        if not found:
            raise DataError(f"no flow of clip {clip.id}: looked in {len(self._folders)} shards")
        fields = open_flow(found[0])
        if fields.shape[0] != clip.frames - 1:
            raise DataError(f"{found[0]}: {fields.shape[0]} flow fields, allowed: {clip.frames - 1}")
        self._refuse_unknown_size(found[0], clip, fields)
        return fields

    def _refuse_unknown_size(self, file: Path, clip: Clip, fields: FlowReader) -> None:
        """Refuse flow of large frames from before there was a choice of their size, whose stage has the same key."""
        height, width = fields.shape[2:]
        folder = next(folder for folder in self._folders if file == folder / f"{clip.id}{file.suffix}")
        if min(height, width) > FLOW_SHORT_SIDE and not (folder / FLOW_FILE).is_file():
            raise DataError(
                f"{file}: flow of {width}x{height} pixels by an earlier version, allowed: a short side of "
                f"{FLOW_SHORT_SIDE}; hint: twostream cache gc --kind flow, or flow.resize: null, which keeps the size"
            )


def clip_stacks(clip: Clip, frames: Sequence[int], stack: int, visible: int | None = None) -> Indices:
    """Return the fields (N, L) of the stacks around frames; none leads to a frame that may not be looked at.

    Args:
        clip: of T frames.
        frames: N numbers in [0, T - 1], or below ``visible``.
        stack: L.
        visible: how many frames may be looked at, the clip's first ones; all when None.

    Raises:
        DataError: that is one frame, and flow is between two.
    """
    length = clip.frames if visible is None else min(visible, clip.frames)
    if length < 2:
        seen = "" if length == clip.frames else f", of which first_seconds leaves {length}"
        raise DataError(f"{clip.path}: flow needs 2 frames, the clip has {clip.frames}{seen}")
    return np.stack([stack_fields(frame, stack, length) for frame in frames])


class FrameDataset(Dataset[tuple[Tensor, Tensor, int]]):
    """Random frames (or stacks) of clips with their labels, for training a ConvNet.

    Item ``i`` is sample ``i // len(clips)`` of clip ``i % len(clips)``: uint8 (C, size, size), the changes of its
    colours (`Transform.colours`) and the label. Call `set_epoch` before each epoch; with persistent loader workers it
    reaches them too.

    Args:
        clips: the training clips.
        source: `RgbSource` or `FlowSource`.
        transform: `TrainTransform`, or `TestTransform` for training without augmentation.
        seed: of all random choices.
        samples_per_clip: items of each clip in an epoch.
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
        samples_per_clip: int = 1,
        first_seconds: float | None = None,
    ) -> None:
        self._clips, self._source, self._transform = tuple(clips), source, transform
        self.finish = transform.finish
        self._seed, self._samples_per_clip = seed, samples_per_clip
        self._visible = [visible_frames(clip, first_seconds) for clip in clips]
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]

    def set_epoch(self, epoch: int) -> None:
        """Draw other frames and augmentations from now on."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        """Return clips x samples_per_clip."""
        return len(self._clips) * self._samples_per_clip

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, int]:
        """Return uint8 (C, size, size), the changes of its colours and the label."""
        if not 0 <= index < len(self):
            raise IndexError(f"index: got {index}, allowed: 0 to {len(self) - 1}")
        sample, clip_index = divmod(index, len(self._clips))
        clip = self._clips[clip_index]
        rng = np.random.default_rng([self._seed, int(self._epoch), zlib.crc32(clip.id.encode()), sample])
        visible = self._visible[clip_index]
        frames = self._transform(self._source.read(clip, [random_frame(visible, rng)], visible), rng)
        return frames[0], self._transform.colours(rng), clip.label


class Block(NamedTuple):
    """Frames of one clip that are read together: the clip's index in the list, and frame numbers."""

    clip_index: int
    frames: Indices


class ClipDataset(Dataset[Tensor]):
    """Equally spaced frames (or stacks) of each clip, or all of them, for features; item ``i`` is ``blocks[i]``.

    Both streams of a clip use the same frames when ``stack`` is the same.

    Args:
        clips: clips in the order of the features.
        source: `RgbSource` (give it ``cache_bytes=0``: each clip is read once) or `FlowSource`.
        transform: of a block; nothing random.
        frames: T, frames of each clip; None for every frame, in blocks of `BLOCK_FRAMES`.
        stack: L of the flow stream, for both streams.
        first_seconds: looks at no more than the beginning of a clip.
        spacing: of the T frames.

    Attributes:
        blocks: in the order of the clips.
        lengths: frames of each clip.
        finish: turns the bytes of items into a ConvNet's input (`Transform.finish`).
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        source: ClipSource,
        transform: Transform,
        *,
        frames: int | None,
        stack: int,
        first_seconds: float | None = None,
        spacing: Spacing = "even",
    ) -> None:
        self._clips, self._source, self._transform = tuple(clips), source, transform
        self.finish = transform.finish
        self._visible = [visible_frames(clip, first_seconds) for clip in clips]
        chosen = [_chosen(visible, frames, stack, spacing) for visible in self._visible]
        self.lengths = [len(numbers) for numbers in chosen]
        self.blocks = [
            Block(clip_index, numbers[first : first + BLOCK_FRAMES] if frames is None else numbers)
            for clip_index, numbers in enumerate(chosen)
            for first in range(0, len(numbers) if frames is None else 1, BLOCK_FRAMES)
        ]

    def __len__(self) -> int:
        """Return the number of blocks."""
        return len(self.blocks)

    def __getitem__(self, index: int) -> Tensor:
        """Return uint8 (n, C, size, size)."""
        clip_index, frames = self.blocks[index]
        clip = self._clips[clip_index]
        rng = np.random.default_rng([0, 0, zlib.crc32(clip.id.encode()), 0])
        return self._transform(self._source.read(clip, frames.tolist(), self._visible[clip_index]), rng)


def visible_frames(clip: Clip, first_seconds: float | None) -> int:
    """Return how many frames of a clip are looked at.

    Raises:
        DataError: the file does not say how many frames a second has.
    """
    if first_seconds is None:
        return clip.frames
    if not clip.fps:
        raise DataError(f"{clip.path}: first_seconds: got {first_seconds:g} s of a clip that declares no frame rate")
    return seconds_of(clip.frames, clip.fps, first_seconds)


def chosen_frames(
    clip: Clip, frames: int | None, stack: int, first_seconds: float | None, spacing: Spacing = "even"
) -> Indices:
    """Return the frame numbers of a clip's features, as `ClipDataset` chooses them; errors as for `visible_frames`."""
    return _chosen(visible_frames(clip, first_seconds), frames, stack, spacing)


def _chosen(num_frames: int, frames: int | None, stack: int, spacing: Spacing) -> Indices:
    return np.arange(num_frames) if frames is None else spaced(num_frames, frames, stack, spacing)
