"""Clips of unequal length in one batch: masks, lengths, and pooling that sees valid time steps only."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Pooling = Literal["mean", "max"]


def lengths_of(mask: Tensor) -> Tensor:
    """Return the number of valid steps of each clip, ``(N,)`` int64, of a prefix mask ``(N, T)`` bool.

    Raises:
        ValueError: if a clip has no valid step, or a valid step after an invalid one.
    """
    lengths = mask.sum(1)
    prefix = torch.arange(mask.shape[1], device=mask.device) < lengths[:, None]
    if not bool((prefix == mask).all()) or not bool((lengths > 0).all()):
        raise ValueError("mask: allowed: for every clip one or more valid steps first, then padding")
    return lengths


def pool(x: Tensor, pooling: Pooling, mask: Tensor | None = None) -> Tensor:
    """Pool over the time axis, the last but one.

    Args:
        x: ``(..., T, D)``.
        pooling: ``mean`` or ``max``.
        mask: ``(..., T)`` bool, True where a step is valid; each row needs one valid step. None: all are.

    Returns:
        ``(..., D)``.
    """
    if mask is None:
        return x.mean(-2) if pooling == "mean" else x.amax(-2)
    valid = mask[..., None]
    if pooling == "mean":
        return x.masked_fill(~valid, 0).sum(-2) / valid.sum(-2)
    return x.masked_fill(~valid, float("-inf")).amax(-2)
