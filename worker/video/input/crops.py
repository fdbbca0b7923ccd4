"""Crops and sizes of the papers beside TS-LSTM's: tensors in and out.

Frames are ``(N, C, H, W)`` as in `worker.video.input.transforms`, on a processor or a GPU.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from models.backbones import InputFormat
from services.specs import Crops
from worker.video.input.resize import resize_bytes
from worker.video.input.transforms import Box, TestTransform, Transform, crop, flip, normalize_bytes

TSN_HEIGHT, TSN_WIDTH = 256, 340  # frames and flow of TSN, on disk
RGB_SCALES = (1.0, 0.875, 0.75, 0.66)  # TSN
FLOW_SCALES = (1.0, 0.875, 0.75)  # TSN


def multi_scale_box(height: int, width: int, scales: Sequence[float], rng: np.random.Generator) -> Box:
    """Draw TSN's crop: sides from ``scales`` times the shorter side, at one of 13 positions.

    Height and width are drawn independently, at most one scale apart. Positions are the corners and the centre, the
    middles of the edges, and the four quarter points (tsn-pytorch, `GroupMultiScaleCrop` with `more_fix_crop`).

    Args:
        height: of the frame in pixels; TSN's frames are 256 high and 340 wide.
        width: likewise.
        scales: `RGB_SCALES` or `FLOW_SCALES`, falling.
        rng: source of size and position.
    """
    sides = [int(min(height, width) * scale) for scale in scales]
    pairs = [(h, w) for i, h in enumerate(sides) for j, w in enumerate(sides) if abs(i - j) <= 1]
    box_height, box_width = pairs[rng.integers(len(pairs))]
    positions = fixed_positions(height - box_height, width - box_width)
    top, left = positions[rng.integers(len(positions))]
    return Box(top, left, box_height, box_width)


def fixed_positions(free_height: int, free_width: int) -> tuple[tuple[int, int], ...]:
    """Return TSN's 13 positions (top, left) of a crop, by how many pixels it can move down and right."""
    down, right = free_height // 4, free_width // 4
    corners_and_centre = ((0, 0), (0, 4), (4, 0), (4, 4), (2, 2))
    edges = ((2, 0), (2, 4), (4, 2), (0, 2))
    quarters = ((1, 1), (1, 3), (3, 1), (3, 3))
    return tuple((i * down, j * right) for i, j in (*corners_and_centre, *edges, *quarters))


def resize_tsn(frames: Tensor, size: int = 224) -> Tensor:
    """Resize uint8 (N, C, H, W) to 340x256, or in proportion, aspect not kept: TSN, MATDL and Relational LSTM."""
    return resize_bytes(frames, round(TSN_HEIGHT * size / 224), round(TSN_WIDTH * size / 224))


def stretch(frames: Tensor, size: int = 224) -> Tensor:
    """Resize uint8 (N, C, H, W) to a square, aspect not kept, nothing cut off (VideoLSTM's code, from 340x256)."""
    return resize_bytes(frames, size, size)


def five_crops(frames: Tensor, size: int = 224) -> Tensor:
    """Return the four corners and the centre, (N, 5, C, size, size): Relational LSTM's test, sec. 5.2."""
    height, width = frames.shape[-2:]
    if size > min(height, width):
        raise ValueError(f"size: got {size}, allowed: 1 to {min(height, width)}")
    down, right = height - size, width - size
    positions = ((0, 0), (0, right), (down, 0), (down, right), (down // 2, right // 2))
    return torch.stack([crop(frames, Box(top, left, size, size)) for top, left in positions], dim=1)


def ten_crops(frames: Tensor, size: int = 224, *, invert_x: bool = False) -> Tensor:
    """Return the five crops and their mirror images, (N, 10, C, size, size); ``invert_x`` for flow (TSN's test)."""
    crops = five_crops(frames, size)
    mirrored = flip(crops.flatten(0, 1), invert_x=invert_x).reshape(crops.shape)
    return torch.cat([crops, mirrored], dim=1)


VIEWS: dict[Crops, int] = {"center": 1, "stretch": 1, "five": 5, "ten": 10}
"""Crops of a frame by the name of their choice."""


class Stretch(Transform):
    """All of a frame as a square, normalised (VideoLSTM's code); nothing random."""

    def __call__(self, frames: Tensor, rng: np.random.Generator | None = None) -> Tensor:  # noqa: ARG002
        """Turn uint8 (N, C, H, W) into uint8 (N, C, size, size)."""
        return stretch(frames, self.format.size).contiguous()


class MultiScale(Transform):
    """TSN's training: a crop of one of several sizes and 13 positions, and a flip with probability 1/2.

    Frames are first brought to 340x256 pixels for an input of 224, and in proportion for another.

    Args:
        input_format: what the ConvNet takes.
        flow: frames are flow stacks: fewer sizes, and the x channels turn with a flip.
    """

    def __init__(self, input_format: InputFormat, *, flow: bool) -> None:
        super().__init__(input_format)
        self.flow = flow

    def __call__(self, frames: Tensor, rng: np.random.Generator) -> Tensor:
        """Turn uint8 (N, C, H, W) into uint8 (N, C, size, size); all N frames get the same crop and flip."""
        size = self.format.size
        frames = resize_tsn(frames, size)
        height, width = frames.shape[-2:]
        box = multi_scale_box(height, width, FLOW_SCALES if self.flow else RGB_SCALES, rng)
        frames = resize_bytes(crop(frames, box), size, size)
        if rng.random() < 0.5:
            frames = flip(frames, invert_x=self.flow)
        return frames.contiguous()


class TestCrops:
    """The views of a frame whose scores are averaged; nothing random.

    Args:
        crops: ``center`` (TS-LSTM), ``stretch`` (VideoLSTM), or of frames of 340x256 ``five`` (Relational LSTM) or
            ``ten`` (TSN, MATDL).
        input_format: what the ConvNet takes.
        flow: frames are flow stacks, whose x channels turn in mirror images.
    """

    __test__ = False  # not a test, whatever pytest makes of the name

    def __init__(self, crops: Crops, input_format: InputFormat, *, flow: bool) -> None:
        self.crops, self.format, self.flow = crops, input_format, flow

    def __call__(self, frames: Tensor) -> Tensor:
        """Turn uint8 (N, C, H, W) into uint8 (V, N, C, size, size), V = 1, 5 or 10."""
        if self.crops in ("center", "stretch"):
            one = TestTransform if self.crops == "center" else Stretch
            return one(self.format)(frames)[None]
        size = self.format.size
        frames = resize_tsn(frames, size)
        views = five_crops(frames, size) if self.crops == "five" else ten_crops(frames, size, invert_x=self.flow)
        return views.transpose(0, 1).contiguous()

    def finish(self, frames: Tensor) -> Tensor:
        """Return the normalised values of bytes, float32 of the same shape."""
        return normalize_bytes(frames, self.format.mean, self.format.std)
