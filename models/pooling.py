"""Pooling over time and one linear layer: the order-blind baselines of TS-LSTM (sec. 4.2, Tables 3 and 7)."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from models.parts.batch_norm import StepBatchNorm
from models.parts.masking import Pooling, pool
from models.parts.options import Count, Share
from models.parts.output import Output
from models.parts.segments import cut_segments

BatchNorms = Literal["before", "after"]


class _TemporalPooling(nn.Module):
    """Batch norm, a linear layer, pooling over each segment, batch norm, dropout, linear.

    Segments are cut as in TS-LSTM and their pooled features are concatenated (the authors' code at 27c57c2), so that
    "TS3, BN, FC512, Max, BN, FC-101" of TS-LSTM, Table 7 is three segments with ``fc_dim=512``; the linear layer before
    pooling has no activation and, as the batch norm before it, parameters of its own for each segment.

    Args:
        num_classes: K.
        feature_dim: D.
        segments: S; 1 pools over all steps.
        fc_dim: width of the linear layer before pooling, or None for none.
        dropout: share of pooled features dropped, 0 to 1; 0 in the paper.
        batch_norm: both batch norms, ``before`` and ``after`` pooling, one of them, or none (False).

    Attributes:
        pooling: over the steps of a segment.
    """

    pooling: ClassVar[Pooling]

    def __init__(
        self,
        *,
        num_classes: int,
        feature_dim: int,
        segments: Count = 1,
        fc_dim: Count | None = None,
        dropout: Share = 0.0,
        batch_norm: bool | BatchNorms = True,
    ) -> None:
        super().__init__()
        self.segments = segments
        width = feature_dim if fc_dim is None else fc_dim
        self.input_norm = StepBatchNorm(feature_dim, segments) if batch_norm in {True, "before"} else None
        self.fc = None if fc_dim is None else SegmentLinear(segments, feature_dim, fc_dim)
        self.norm = nn.BatchNorm1d(segments * width) if batch_norm in {True, "after"} else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(segments * width, num_classes)

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Output:
        """Classify videos.

        Args:
            features: ``(N, T, D)``.
            mask: ``(N, T)`` bool, valid steps first; a clip is cut into segments by its own length.

        Returns:
            Logits ``(N, K)`` and the pooled features as embedding ``(N, S D)``.

        Raises:
            ValueError: if a clip has fewer than S valid steps.
        """
        x, valid = cut_segments(features, self.segments, mask)  # (N, S, T // S, D)
        if self.input_norm is not None:
            x = self.input_norm(x, valid)
        if self.fc is not None:
            x = self.fc(x)
        embedding = self.norm(pool(x, self.pooling, valid).flatten(1))
        return Output(self.classifier(self.dropout(embedding)), embedding=embedding)


class MeanPooling(_TemporalPooling):
    """Mean over time, then one linear layer ("similarly with max pooling": TS-LSTM, sec. 4.2)."""

    pooling = "mean"


class MaxPooling(_TemporalPooling):
    """Maximum over time, then one linear layer ("Max, FC" of TS-LSTM, Table 7)."""

    pooling = "max"


class SegmentLinear(nn.Module):
    """A linear layer for each of S segments, by one batched product.

    Args:
        segments: S.
        feature_dim: D.
        width: D' of the output.
    """

    def __init__(self, segments: int, feature_dim: int, width: int) -> None:
        super().__init__()
        bound = feature_dim**-0.5  # as nn.Linear draws them
        self.weight = nn.Parameter(torch.empty(segments, width, feature_dim).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(segments, width).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """Turn ``x (N, S, M, D)`` into ``(N, S, M, D')``."""
        rows = x.transpose(0, 1).flatten(1, 2)  # (S, N M, D)
        out = torch.baddbmm(self.bias[:, None], rows, self.weight.transpose(1, 2))
        return out.view(len(out), x.shape[0], x.shape[2], -1).transpose(0, 1)
