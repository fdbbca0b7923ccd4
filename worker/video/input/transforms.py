"""Changes of frames on their way into a ConvNet: tensors in, tensors out, pure functions first.

Frames are ``(N, C, H, W)``: C is 3 for rgb and 2L for a flow stack (x1, y1, x2, y2, ...), uint8 in [0, 255]. All N
frames of a call get the same crop, flip and jitter. Random choices come from a numpy generator only.

A transform has two halves. Called, it crops, resizes and mirrors bytes where a clip is read, which may be a loader
process: bytes are a quarter of floats on their way. `Transform.finish` turns a whole batch of them into what a ConvNet
takes, on the device that computes.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from models.backbones import InputFormat
from worker.video.input.resize import resize_bytes

MARGIN = 256 / 224  # TS-LSTM's code: short side to 256, centre crop of 224
ASPECT = (3 / 4, 4 / 3)  # TS-LSTM, sec. 3.4.1
CROP_TRIES = 10  # as fb.resnet.torch, on which TS-LSTM's code is built
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
BRIGHTNESS, CONTRAST, SATURATION = range(3)  # what a colour jitter changes
CACHED_CLIPS = 4  # as many as a processor jitters at once: fewer cost more calls, more leave its cache


class Box(NamedTuple):
    """A crop in pixels."""

    top: int
    left: int
    height: int
    width: int


def random_area_box(height: int, width: int, min_area: float, rng: np.random.Generator) -> Box:
    """Draw a crop of area ``min_area`` to 1 of the frame and aspect 3/4 to 4/3 (TS-LSTM, sec. 3.4.1).

    After ten draws that do not fit, the largest centred square is taken, as in TS-LSTM's code.
    """
    for _ in range(CROP_TRIES):
        area = rng.uniform(min_area, 1.0) * height * width
        aspect = rng.uniform(*ASPECT)
        box_height, box_width = round(math.sqrt(area / aspect)), round(math.sqrt(area * aspect))
        if rng.random() < 0.5:
            box_height, box_width = box_width, box_height
        if 0 < box_height <= height and 0 < box_width <= width:
            top = int(rng.integers(height - box_height + 1))
            left = int(rng.integers(width - box_width + 1))
            return Box(top, left, box_height, box_width)
    side = min(height, width)
    return center_box(height, width, side)


def center_box(height: int, width: int, size: int) -> Box:
    """Return the centred square crop of side ``size``, which must fit."""
    if size > min(height, width):
        raise ValueError(f"size: got {size}, allowed: 1 to {min(height, width)}")
    return Box((height - size) // 2, (width - size) // 2, size, size)


def crop(frames: Tensor, box: Box) -> Tensor:
    """Cut a box out of (N, C, H, W); a view."""
    return frames[..., box.top : box.top + box.height, box.left : box.left + box.width]


def resize_short_side(frames: Tensor, size: int) -> Tensor:
    """Resize uint8 (N, C, H, W) so that the shorter side is ``size``, aspect kept."""
    height, width = frames.shape[-2:]
    scale = size / min(height, width)
    return resize_bytes(frames, max(size, round(height * scale)), max(size, round(width * scale)))


def flip(frames: Tensor, invert_x: bool) -> Tensor:
    """Mirror (N, C, H, W) left to right; ``invert_x`` turns the x channels of flow, v to 255 - v (TSN)."""
    flipped = frames.flip(-1)
    if invert_x:
        flipped[:, 0::2] = 255 - flipped[:, 0::2]
    return flipped


def draw_jitter(amount: float, rng: np.random.Generator) -> Tensor:
    """Draw changes of brightness, contrast and saturation in random order, each by 1 +- ``amount`` (TS-LSTM's code).

    Args:
        amount: 0.4 in TS-LSTM's code; 0 changes nothing.
        rng: source of the order and the factors.

    Returns:
        float32 (3, 2): `BRIGHTNESS`, `CONTRAST` or `SATURATION`, and its factor, in the order of the changes.
    """
    order = rng.permutation(3)
    return torch.tensor([(kind, 1.0 + rng.uniform(-amount, amount)) for kind in order], dtype=torch.float32)


def color_jitter_(frames: Tensor, changes: Tensor) -> Tensor:
    """Change the colours of each clip in its own way, and in place.

    A change mixes frames with black (brightness), with the mean of their luma (contrast) or with their luma
    (saturation), and clamps them to [0, 1].

    Args:
        frames: float (N, ..., 3, H, W) in [0, 1].
        changes: (N, 3, 2), of `draw_jitter`.
    """
    for change in changes.unbind(1):
        kind, factor = (column.view(-1, *[1] * (frames.ndim - 1)) for column in change.unbind(1))
        red, green, blue = frames.split(1, dim=-3)  # type: ignore[no-untyped-call]
        grey = (red * LUMA[0]).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])
        grey = torch.where(kind == CONTRAST, grey.mean(dim=(-2, -1), keepdim=True), grey)
        share = torch.where(kind == BRIGHTNESS, 0.0, 1.0 - factor)
        frames.mul_(factor).add_(grey.mul_(share)).clamp_(0.0, 1.0)
    return frames


def normalize(frames: Tensor, mean: Sequence[float], std: Sequence[float], out: Tensor | None = None) -> Tensor:
    """Return ``(frames - mean) / std`` per channel of (..., C, H, W) as float32, contiguous.

    One value serves all channels, two alternate over x and y. ``out`` takes the result where it is given.
    """
    channels = frames.shape[-3]
    for name, values in (("mean", mean), ("std", std)):
        if channels % len(values):
            raise ValueError(f"{name}: got {len(values)} values, allowed: a divisor of {channels} channels")
    means, stds = (
        torch.tensor(list(v), device=frames.device).repeat(channels // len(v)).view(-1, 1, 1) for v in (mean, std)
    )
    if out is None:
        out = torch.empty(frames.shape, device=frames.device)
    return out.copy_(frames).sub_(means).div_(stds)  # in place: new memory costs as much as the sums


def normalize_bytes(frames: Tensor, mean: Sequence[float], std: Sequence[float], out: Tensor | None = None) -> Tensor:
    """Return ``(frames / 255 - mean) / std`` of uint8 (..., C, H, W): see `normalize`."""
    return normalize(frames, [255 * value for value in mean], [255 * value for value in std], out)


class Transform(ABC):
    """What happens to frames before a ConvNet takes them.

    Args:
        input_format: what the ConvNet takes.
    """

    def __init__(self, input_format: InputFormat) -> None:
        self.format = input_format

    @abstractmethod
    def __call__(self, frames: Tensor, rng: np.random.Generator) -> Tensor:
        """Turn uint8 (N, C, H, W) into uint8 (N, C, size, size), contiguous; all N frames alike."""

    def colours(self, rng: np.random.Generator) -> Tensor:  # noqa: ARG002
        """Draw the changes of colour that `finish` makes, after the call with the same generator: float32, or empty."""
        return torch.empty(0)

    def finish(self, frames: Tensor, colours: Tensor | None = None, out: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Return the normalised values of bytes.

        Args:
            frames: uint8 (N, ..., C, size, size), of calls.
            colours: (N, ...), of `colours`; None changes none.
            out: takes the result where it is given.

        Returns:
            float32 of the same shape.
        """
        return normalize_bytes(frames, self.format.mean, self.format.std, out)


def short_side_of_test(height: int, width: int, size: int) -> int:
    """Return the short side to which a frame is brought before its centre crop; the test protocol of TS-LSTM."""
    return round(size * MARGIN) if min(height, width) > size else size


class Region(NamedTuple):
    """A part of a frame, in pixels that need not be whole."""

    top: float
    left: float
    height: float
    width: float


def center_region(height: int, width: int, size: int) -> Region:
    """Return the part of a frame that `TestTransform` hands on."""
    scale = short_side_of_test(height, width, size) / min(height, width)
    side = size / scale
    return Region((height - side) / 2, (width - side) / 2, side, side)


class TestTransform(Transform):
    """Short side to 256/224 of the size, centre crop, normalisation (TS-LSTM's test protocol); nothing random.

    Clips whose short side is the size or less are scaled to it and lose no margin.
    """

    __test__ = False  # not a test, whatever pytest makes of the name

    def __call__(self, frames: Tensor, rng: np.random.Generator | None = None) -> Tensor:  # noqa: ARG002
        """Turn uint8 (N, C, H, W) into uint8 (N, C, size, size)."""
        size = self.format.size
        frames = resize_short_side(frames, short_side_of_test(frames.shape[-2], frames.shape[-1], size))
        return crop(frames, center_box(frames.shape[-2], frames.shape[-1], size)).contiguous()


class TrainTransform(Transform):
    """Random area and aspect crop, flip, colour jitter, normalisation (TS-LSTM, sec. 3.4.1).

    Args:
        input_format: what the ConvNet takes.
        flow: frames are flow stacks: no colour jitter.
        min_area: smallest crop as a part of the frame; 0.08 in TS-LSTM.
        flip: probability of a mirror image.
        invert_flow_on_flip: turn the x channels of a mirrored stack.
        jitter: amount of colour jitter.
    """

    def __init__(
        self,
        input_format: InputFormat,
        *,
        flow: bool,
        min_area: float,
        flip: float,
        invert_flow_on_flip: bool,
        jitter: float,
    ) -> None:
        super().__init__(input_format)
        self.flow, self.min_area, self.flip = flow, min_area, flip
        self.invert_flow_on_flip, self.jitter = invert_flow_on_flip, jitter

    def __call__(self, frames: Tensor, rng: np.random.Generator) -> Tensor:
        """Turn uint8 (N, C, H, W) into uint8 (N, C, size, size)."""
        frames = crop(frames, random_area_box(frames.shape[-2], frames.shape[-1], self.min_area, rng))
        frames = resize_bytes(frames, self.format.size, self.format.size)
        if rng.random() < self.flip:
            frames = flip(frames, invert_x=self.flow and self.invert_flow_on_flip)
        return frames.contiguous()

    def colours(self, rng: np.random.Generator) -> Tensor:
        """Draw a jitter of rgb: float32 (3, 2); empty for flow."""
        return torch.empty(0) if self.flow or not self.jitter else draw_jitter(self.jitter, rng)

    def finish(self, frames: Tensor, colours: Tensor | None = None, out: Tensor | None = None) -> Tensor:
        """Return the jittered, normalised values of bytes; see `Transform.finish`."""
        if colours is None or not colours.numel():
            return super().finish(frames, None, out)
        if out is None:
            out = torch.empty(frames.shape, device=frames.device)
        at_once = CACHED_CLIPS if frames.device.type == "cpu" else len(frames)
        for first in range(0, len(frames), at_once):
            some = slice(first, first + at_once)
            values = color_jitter_(out[some].copy_(frames[some]).div_(255), colours[some])
            normalize(values, self.format.mean, self.format.std, values)
        return out
