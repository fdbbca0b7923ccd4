"""Pooling over time and one linear layer: the order-blind baselines of 001, Tables 3 and 7."""

from __future__ import annotations

from torch import Tensor, nn

from models.batch_norm import StepBatchNorm
from models.masking import Pooling, lengths_of, pool
from models.output import Output


class TemporalPooling(nn.Module):
    """Batch norm, pooling over time, batch norm, dropout, linear ("Max, FC" with one segment in 001, Table 7).

    Args:
        feature_dim: D.
        num_classes: K.
        pooling: ``mean`` or ``max`` over time.
        dropout: share of pooled features dropped, 0 to 1.
        batch_norm: both batch norms, before and after pooling, or neither.
    """

    def __init__(
        self, feature_dim: int, num_classes: int, *, pooling: Pooling, dropout: float = 0.0, batch_norm: bool = True
    ) -> None:
        super().__init__()
        self.pooling = pooling
        self.input_norm = StepBatchNorm(feature_dim) if batch_norm else None
        self.norm = nn.BatchNorm1d(feature_dim) if batch_norm else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(feature_dim, num_classes)

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Output:
        """Classify ``features (N, T, D)`` with an optional prefix ``mask (N, T)``; logits are ``(N, K)``."""
        if mask is not None:
            lengths_of(mask)
        x = features
        if self.input_norm is not None:
            x = self.input_norm(x[:, None], None if mask is None else mask[:, None])[:, 0]
        x = pool(x, self.pooling, mask)
        return Output(self.classifier(self.dropout(self.norm(x))))
