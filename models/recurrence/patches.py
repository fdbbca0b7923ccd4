"""A convolution's patches as rows, so that it becomes one product with a matrix; maps are channels-last here."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def patches(x: Tensor, size: int) -> Tensor:
    """Cut maps into the patches around every position, zeros beyond the border.

    Args:
        x: ``(..., H, W, C)``, or ``(..., C)`` with size 1.
        size: height and width of a patch, odd.

    Returns:
        Rows ``(... H W, size size C)``.
    """
    channels = x.shape[-1]
    if size == 1:
        return x.reshape(-1, channels)
    edge = size // 2
    padded = F.pad(x.flatten(0, -4), (0, 0, edge, edge, edge, edge))
    windows = padded.unfold(1, size, 1).unfold(2, size, 1)  # (N, H, W, C, size, size)
    return windows.permute(0, 1, 2, 4, 5, 3).reshape(-1, size * size * channels)


def fold(rows: Tensor, shape: torch.Size, size: int) -> Tensor:
    """Add patches back where they were cut from maps of a shape: the transpose of ``patches``, its gradient."""
    if size == 1:
        return rows.reshape(shape)
    height, width, channels = shape[-3:]
    edge = size // 2
    windows = rows.view(-1, height, width, size, size, channels)
    padded = rows.new_zeros(len(windows), height + 2 * edge, width + 2 * edge, channels)
    for i in range(size):
        for j in range(size):
            padded[:, i : i + height, j : j + width] += windows[:, :, :, i, j]
    return padded[:, edge : edge + height, edge : edge + width].reshape(shape)


def kernel(out: int, channels: int, size: int) -> Tensor:
    """Return an empty kernel ``(O, C, size, size)`` in the memory format in which ``kernel_matrix`` copies nothing."""
    return torch.empty(out, channels, size, size).contiguous(memory_format=torch.channels_last)


def kernel_matrix(weight: Tensor) -> Tensor:
    """Turn a kernel ``(O, C, size, size)`` into ``(O, size size C)``, by whose transpose patches are multiplied.

    A matrix ``(O, C)`` is left as it is.
    """
    return weight if weight.ndim == 2 else weight.permute(0, 2, 3, 1).flatten(1)
