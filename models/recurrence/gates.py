"""Weights of an LSTM's four gates: products of vectors, or convolutions of maps."""

from __future__ import annotations

import torch
from torch import nn

from models.parts.initial_weights import InitialWeights, draw_
from models.recurrence.patches import kernel


class VectorGates(nn.Module):
    """Weights of the four gates of a vector LSTM with one bias, in the order input, forget, output, candidate.

    Args:
        feature_dim: D of the input.
        hidden: width of the state.
        initial_weights: see ``models.parts.initial_weights``.
    """

    def __init__(self, feature_dim: int, hidden: int, initial_weights: InitialWeights) -> None:
        super().__init__()
        self.input_weight = nn.Parameter(torch.empty(4 * hidden, feature_dim))
        self.hidden_weight = nn.Parameter(torch.empty(4 * hidden, hidden))
        self.bias = nn.Parameter(torch.zeros(4 * hidden))
        draw_(self.input_weight, initial_weights, kernel=False)
        draw_(self.hidden_weight, initial_weights, kernel=False)


class ConvGates(nn.Module):
    """Weights of the four gates, in the order input, forget, output, candidate.

    Args:
        channels: C of the input.
        hidden: width of the state.
        kernel_size: of input-to-state and state-to-state convolutions.
        initial_weights: see ``models.parts.initial_weights``.
    """

    def __init__(self, channels: int, hidden: int, kernel_size: int, initial_weights: InitialWeights) -> None:
        super().__init__()
        self.input_weight = nn.Parameter(kernel(4 * hidden, channels, kernel_size))  # W_x
        self.hidden_weight = nn.Parameter(kernel(4 * hidden, hidden, kernel_size))  # W_h
        self.bias = nn.Parameter(torch.zeros(4 * hidden))  # of the forget gate too (the released code)
        draw_(self.input_weight, initial_weights, kernel=True)
        draw_(self.hidden_weight, initial_weights, kernel=True)
