"""Networks: one architecture a file, flat keyword arguments, tensors in and a small named result out.

Nothing here knows of files, specs or stages. Shapes follow the repository's legend: N videos, T time steps,
S segments, C channels, H W height and width, D feature width, K classes, L flow fields in a stack.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from torch import nn

from models.convnet import ConvNet
from models.output import Output
from models.pooling import TemporalPooling
from models.ts_lstm import TSLSTM

__all__ = ["KINDS", "ConvNet", "Output", "build"]


def mean_pooling(*, num_classes: int, feature_dim: int, dropout: float = 0.0, batch_norm: bool = True) -> nn.Module:
    """Mean over time, then one linear layer (the two-stream baseline of 001, Table 3)."""
    return TemporalPooling(feature_dim, num_classes, pooling="mean", dropout=dropout, batch_norm=batch_norm)


def max_pooling(*, num_classes: int, feature_dim: int, dropout: float = 0.0, batch_norm: bool = True) -> nn.Module:
    """Maximum over time, then one linear layer ("Max, FC" with one segment in 001, Table 7)."""
    return TemporalPooling(feature_dim, num_classes, pooling="max", dropout=dropout, batch_norm=batch_norm)


KINDS: Mapping[str, Callable[..., nn.Module]] = MappingProxyType(
    {"mean_pooling": mean_pooling, "max_pooling": max_pooling, "ts_lstm": TSLSTM}
)
"""Temporal networks by the name that an experiment's ``model.kind`` gives them."""


def build(kind: str, *, num_classes: int, feature_dim: int, **options: Any) -> nn.Module:
    """Build a temporal network that maps ``features (N, T, D)`` and an optional ``mask (N, T)`` to an ``Output``.

    Args:
        kind: a key of ``KINDS``.
        num_classes: K.
        feature_dim: D, the sum over streams where their features are concatenated.
        options: keyword arguments of that architecture.

    Raises:
        ValueError: if no architecture has that name.
        TypeError: if the architecture has no such option.
    """
    if kind not in KINDS:
        raise ValueError(f"model kind: got {kind!r}, allowed: {', '.join(sorted(KINDS))}")
    return KINDS[kind](num_classes=num_classes, feature_dim=feature_dim, **options)
