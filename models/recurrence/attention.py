"""Soft attention over positions (VideoLSTM, eqs. 7 and 8; Sharma et al. for vector states)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.parts.initial_weights import InitialWeights, draw_
from models.parts.masking import without_padding
from models.recurrence.time_product import TimeProduct


class SpatialAttention(nn.Module):
    """Shares of the positions of a step, from the step's features and a hidden state.

    On maps these are the 1x1 convolutions of eq. 7; a state without positions (ALSTM) is the same for all of them.

    Args:
        feature_dim: C of the features.
        hidden: width of the state.
        attention_dim: width of the layer between: 512 in the paper, C in the code.
        kernels: draw weights as 1x1 kernels (maps) or as matrices.
        initial_weights: see ``models.parts.initial_weights``.
    """

    def __init__(
        self, feature_dim: int, hidden: int, attention_dim: int, *, kernels: bool, initial_weights: InitialWeights
    ) -> None:
        super().__init__()
        self.feature_weight = nn.Parameter(torch.empty(attention_dim, feature_dim))  # W_xa
        self.hidden_weight = nn.Parameter(torch.empty(attention_dim, hidden))  # W_ha
        self.bias = nn.Parameter(torch.zeros(attention_dim))  # b_a
        self.score_weight = nn.Parameter(torch.empty(1, attention_dim))  # W_z
        self.score_bias = nn.Parameter(torch.zeros(1))  # in the code, not in eq. 7; the softmax cancels it
        for weight in (self.feature_weight, self.hidden_weight, self.score_weight):
            draw_(weight, initial_weights, kernel=kernels)

    def features(self, x: Tensor) -> Tensor:
        """Return the features' part of eq. 7 for all steps, W_xa X + b_a: ``(..., A)`` of ``x (..., C)``."""
        return TimeProduct(self.feature_weight, self.bias)(x)

    def shares(self, features: Tensor, state: Tensor) -> Tensor:
        """Return the shares of positions, eq. 8.

        Args:
            features: ``features()`` of a step, ``(N, P, A)`` for P positions.
            state: W_ha H, ``(N, P, A)``, or ``(N, 1, A)`` of a state without positions.

        Returns:
            ``(N, P)``, summing to 1.
        """
        scores = (features + state).tanh() @ self.score_weight.t()
        return (scores[..., 0].to(self.score_bias.dtype) + self.score_bias).softmax(-1)


def attention_maps(shares: list[Tensor], x: Tensor, mask: Tensor | None) -> Tensor:
    """Return the shares of T steps, each ``(N, P)``, as ``(N, T, H, W)``, with zeros where a clip is padded."""
    maps = torch.stack(shares, 1).view(x.shape[1], x.shape[0], *x.shape[2:4])
    return without_padding(maps, mask)


def expectation(shares: Tensor, positions: Tensor) -> Tensor:
    """Return the mean ``(N, C)`` of ``positions (N, P, C)``, weighted by ``shares (N, P)``."""
    return (shares[:, None].to(positions.dtype) @ positions)[:, 0]
