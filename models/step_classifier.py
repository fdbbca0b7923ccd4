"""VideoLSTM's classifier of each step: dropout, tanh layer, dropout, linear (sec. 5.2 and code)."""

from __future__ import annotations

from torch import Tensor, nn


class StepClassifier(nn.Module):
    """Linear scores of each step, with a tanh layer before or not.

    Args:
        feature_dim: D of a step.
        num_classes: K.
        fc_dim: width of the tanh layer, 1024 in VideoLSTM; None for none.
        dropout: share dropped before the classifier, 0 to 1.
        input_dropout: share dropped before the tanh layer; None for the same.
    """

    def __init__(
        self,
        feature_dim: int,
        num_classes: int,
        *,
        fc_dim: int | None,
        dropout: float = 0.0,
        input_dropout: float | None = None,
    ) -> None:
        super().__init__()
        self.input_dropout = nn.Dropout(dropout if input_dropout is None else input_dropout)
        self.fc = None if fc_dim is None else nn.Linear(feature_dim, fc_dim)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(feature_dim if fc_dim is None else fc_dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return scores ``(..., K)`` of ``x (..., D)``."""
        if self.fc is not None:
            x = self.fc(self.input_dropout(x)).tanh()
        scores: Tensor = self.classifier(self.dropout(x))
        return scores
