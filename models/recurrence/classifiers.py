"""VideoLSTM's classifier of each step: dropout, tanh layer, dropout, linear (sec. 5.2 and code)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.parts.initial_weights import InitialWeights, uniform_
from models.parts.masking import without_padding


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


class MapClassifier(StepClassifier):
    """VideoLSTM's classifier of hidden maps: flatten, tanh layer, dropout, linear.

    Args:
        shape: C, H, W of the maps.
        num_classes: K.
        fc_dim: width of the tanh layer.
        dropout: share dropped before the classifier.
        initial_weights: see ``models.parts.initial_weights``.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        num_classes: int,
        *,
        fc_dim: int,
        dropout: float,
        initial_weights: InitialWeights,
    ) -> None:
        width = shape[0] * shape[1] * shape[2]
        super().__init__(width, num_classes, fc_dim=fc_dim, dropout=dropout, input_dropout=0.0)
        assert self.fc is not None
        if initial_weights == "code":
            uniform_(self.fc, fc_dim)
            uniform_(self.classifier, num_classes)

    def logits(self, states: list[Tensor], mask: Tensor | None) -> Tensor:
        """Classify the maps of T steps, each ``(N, H, W, C)``: ``(N, T, K)``, zeros where a clip is padded."""
        logits: Tensor = self(torch.stack(states, 1).flatten(2))  # (N, T, H W C) in, C fastest
        return without_padding(logits, mask)


def vector_classifier(
    hidden: int, num_classes: int, fc_dim: int, dropout: float, initial_weights: InitialWeights
) -> StepClassifier:
    """Return VideoLSTM's classifier of vectors: dropout, tanh layer, dropout, linear."""
    classifier = StepClassifier(hidden, num_classes, fc_dim=fc_dim, dropout=dropout)
    assert classifier.fc is not None
    if initial_weights == "code":
        uniform_(classifier.fc, fc_dim)
        uniform_(classifier.classifier, num_classes)
    return classifier
