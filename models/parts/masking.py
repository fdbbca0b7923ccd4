"""Clips of unequal length in one batch: masks, lengths, and pooling over valid time steps only.

Padding may hold any value, NaN too. It is filled with zeros, never multiplied by a mask: NaN times zero is NaN, in
the backward pass as well, where a product of a zero gradient and a padded value would reach a weight.
"""

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
        raise ValueError(
            "mask: got a clip without a valid step, or with one after padding,"
            " allowed: one or more valid steps first, then padding"
        )
    return lengths


def without_padding(x: Tensor, mask: Tensor | None) -> Tensor:
    """Return ``x (N, T, ...)`` with zeros where ``mask (N, T)``, or of any leading axes, is False."""
    return x if mask is None else x.masked_fill(~mask.reshape(*mask.shape, *[1] * (x.ndim - mask.ndim)), 0)


def at_least_float32(x: Tensor) -> torch.dtype:
    """Return the type in which sums over values of ``x`` are kept, so that neither digits nor range are lost."""
    return torch.promote_types(x.dtype, torch.float32)


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
        total = without_padding(x, mask).sum(-2, dtype=at_least_float32(x))
        return (total / valid.sum(-2)).to(x.dtype)
    return x.masked_fill(~valid, float("-inf")).amax(-2)
