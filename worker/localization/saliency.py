"""Attention maps become saliency as large as frames (VideoLSTM, sec. 4): scaled up, smoothed, from 0 to 255."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

SPREAD = 0.625
"""Standard deviation of the Gaussian, in positions of a map: 20 of 224 pixels where there are 7. Ours: the paper leaves
it open."""
FLAT = 1e-7
"""Attention that differs less than this over a frame has no peak but rounding errors."""
HIGHEST = 255.0


def saliency(maps: Tensor, height: int, width: int) -> Tensor:
    """Scale up bilinearly, smooth with a Gaussian, and stretch each map to 0..255.

    Both are linear in rows and columns, so that a map goes through two small products.

    Args:
        maps: ``(N, h, w)``.
        height: of the part of the frame that the maps cover, in pixels.
        width: likewise.

    Returns:
        ``(N, height, width)`` from 0 to 255; 255 everywhere where a map is flat.
    """
    rows, columns = _growth(maps.shape[1], height, maps), _growth(maps.shape[2], width, maps)
    grown = rows @ maps @ columns.t()
    lowest, highest = grown.amin((1, 2), keepdim=True), grown.amax((1, 2), keepdim=True)
    spread = highest - lowest
    stretched = (grown - lowest) / spread.clamp_min(FLAT) * HIGHEST
    return torch.where(spread > FLAT, stretched, HIGHEST)


def _growth(positions: int, pixels: int, like: Tensor) -> Tensor:
    """Return what scales up and smooths along one axis, ``(pixels, positions)``; each row sums to 1."""
    one = torch.eye(positions, dtype=like.dtype, device=like.device)
    grown = functional.interpolate(one[None], pixels, mode="linear", align_corners=False)[0].t()
    places = torch.arange(pixels, dtype=like.dtype, device=like.device)
    distance = (places[:, None] - places) * positions / pixels / SPREAD
    return (-0.5 * distance.square()).softmax(1) @ grown
