"""Image operations on batches in torch, with the borders and rounding of OpenCV's (5.0) functions of the same purpose.

Everything takes float32 (N, ..., H, W) on any device and is deterministic.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

CUBIC = -0.75  # OpenCV's cubic convolution, imgproc/warp


def resize(images: Tensor, size: tuple[int, int], scale: float | None = None) -> Tensor:
    """Resize linearly without smoothing, as ``cv2.resize(..., INTER_LINEAR)``.

    Args:
        images: float32 (..., H, W).
        size: new (H, W).
        scale: source pixels per new pixel; by default the ratio of the sizes on each axis.
    """
    for axis, new in ((-1, size[1]), (-2, size[0])):
        old = images.shape[axis]
        step = old / new if scale is None else scale
        position = ((torch.arange(new, dtype=torch.float64) + 0.5) * step - 0.5).clamp(0, old - 1)
        low = position.floor().long().clamp(max=max(old - 2, 0))
        weight = (position - low).to(images.dtype).to(images.device)
        low = low.to(images.device)
        weight = weight if axis == -1 else weight[:, None]
        below, above = images.index_select(axis, low), images.index_select(axis, (low + 1).clamp(max=old - 1))
        images = below + (above - below) * weight
    return images


def centred_gradient(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return d/dx and d/dy of (..., H, W) by half the difference of both neighbours, at a border of one and itself."""
    flat = images.flatten(0, -3)[:, None] if images.ndim > 2 else images[None, None]
    wide = functional.pad(flat, (1, 1, 1, 1), mode="replicate")
    dx = (wide[..., 1:-1, 2:] - wide[..., 1:-1, :-2]) * 0.5
    dy = (wide[..., 2:, 1:-1] - wide[..., :-2, 1:-1]) * 0.5
    return dx.view_as(images), dy.view_as(images)


def forward_gradient(fields: Tensor) -> tuple[Tensor, Tensor]:
    """Return d/dx and d/dy of (..., H, W) by the difference to the next pixel, 0 where there is none."""
    dx, dy = torch.zeros_like(fields), torch.zeros_like(fields)
    torch.sub(fields[..., 1:], fields[..., :-1], out=dx[..., :-1])
    torch.sub(fields[..., 1:, :], fields[..., :-1, :], out=dy[..., :-1, :])
    return dx, dy


def divergence(x: Tensor, y: Tensor) -> Tensor:
    """Return the negative adjoint of `forward_gradient`: (..., H, W); what lies before the first pixel counts as 0."""
    out = x + y
    out[..., 1:] -= x[..., :-1]
    out[..., 1:, :] -= y[..., :-1, :]
    return out


def warp(images: Tensor, flow: Tensor) -> Tensor:
    """Read images where the flow leads, by cubic convolution, as ``cv2.remap(..., INTER_CUBIC)``: outside is 0.

    Args:
        images: float32 (N, C, H, W).
        flow: float32 (N, 2, H, W) in pixels, x then y.
    """
    height, width = images.shape[-2:]
    across, weights_x = _taps(flow[:, 0] + torch.arange(width, device=flow.device, dtype=flow.dtype), width)
    down, weights_y = _taps(flow[:, 1] + torch.arange(height, device=flow.device, dtype=flow.dtype)[:, None], height)
    flat = images.flatten(-2)
    warped = torch.zeros_like(images)
    for y, weight_y in zip(down, weights_y, strict=True):
        row = torch.zeros_like(images)
        for x, weight_x in zip(across, weights_x, strict=True):
            index = (y * width + x).flatten(-2)[:, None].expand(-1, images.shape[1], -1)
            row += flat.gather(-1, index).view_as(images) * weight_x[:, None]
        warped += row * weight_y[:, None]
    return warped


def _taps(position: Tensor, size: int) -> tuple[list[Tensor], list[Tensor]]:
    """Return the four pixels around a position, and their weights, which are 0 for those outside."""
    position = position.clamp(-4.0, size + 4.0)  # farther out reads nothing either
    first = position.floor()
    pixels = [first.long() + offset for offset in (-1, 0, 1, 2)]
    weights = cubic_weights(position - first)
    inside = [weight * ((pixel >= 0) & (pixel < size)) for pixel, weight in zip(pixels, weights, strict=True)]
    return [pixel.clamp(0, size - 1) for pixel in pixels], inside


def cubic_weights(t: Tensor) -> Sequence[Tensor]:
    """Return the weights of the pixels -1, 0, 1 and 2 for a position ``t`` in [0, 1) after pixel 0."""
    near, far = t, 1.0 - t
    before = ((CUBIC * (near + 1.0) - 5.0 * CUBIC) * (near + 1.0) + 8.0 * CUBIC) * (near + 1.0) - 4.0 * CUBIC
    here = ((CUBIC + 2.0) * near - (CUBIC + 3.0)) * near * near + 1.0
    after = ((CUBIC + 2.0) * far - (CUBIC + 3.0)) * far * far + 1.0
    return before, here, after, 1.0 - before - here - after


def median5(images: Tensor) -> Tensor:
    """Return the median of the 5 x 5 pixels around each pixel of (..., H, W); a border pixel repeats, as in OpenCV."""
    shape = images.shape
    wide = functional.pad(images.reshape(-1, 1, *shape[-2:]), (2, 2, 2, 2), mode="replicate")[:, 0]
    height, width = shape[-2:]
    rows = [[wide[:, y : y + height, x : x + width] for x in range(5)] for y in range(5)]
    return median_of_25(rows).view(shape)


def median_of_25(rows: list[list[Tensor]]) -> Tensor:
    """Return the elementwise median of 5 x 5 tensors.

    After rows and columns are sorted, the element at (i, j) has (i + 1)(j + 1) - 1 others that are not above it
    and (5 - i)(5 - j) - 1 that are not below it; 13 of the 25 can be the median, and six fall out on either side.
    """
    rows = [sorted_list(row) for row in rows]
    columns = [sorted_list([row[x] for row in rows]) for x in range(5)]
    left = [columns[x][y] for y in range(5) for x in range(5) if (y + 1) * (x + 1) <= 13 and (5 - y) * (5 - x) <= 13]
    return _middle(left)


def sorted_list(values: list[Tensor]) -> list[Tensor]:
    """Sort tensors elementwise by the odd-even network."""
    values = list(values)
    for step in range(len(values)):
        for low in range(step % 2, len(values) - 1, 2):
            values[low], values[low + 1] = _ordered(values[low], values[low + 1])
    return values


def _middle(values: list[Tensor]) -> Tensor:
    """Return the median of an odd number of tensors by dropping least and greatest of one more than half of them."""
    held, waiting = values[: len(values) // 2 + 2], values[len(values) // 2 + 2 :]
    while len(held) > 1:
        for low in range(len(held) - 1):  # the greatest moves to the end
            held[low], held[low + 1] = _ordered(held[low], held[low + 1])
        for low in range(len(held) - 3, -1, -1):  # the least of the others moves to the front
            held[low], held[low + 1] = _ordered(held[low], held[low + 1])
        held = held[1:-1] + waiting[:1]
        waiting = waiting[1:]
    return held[0]


def _ordered(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    return torch.minimum(a, b), torch.maximum(a, b)
