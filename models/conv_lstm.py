"""Convolutional LSTM (Shi et al.; VideoLSTM, section 3.1, eqs. 1 to 6 without attention)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.initial_state import InitialState, LearnedState, mean_over_time, zero_state
from models.initial_weights import InitialWeights, draw_, uniform_
from models.lstm_cell import lstm_cell
from models.masking import lengths_of, without_padding
from models.output import Output
from models.patches import kernel
from models.step_classifier import StepClassifier
from models.time_product import TimeProduct


class ConvGates(nn.Module):
    """Weights of the four gates, in the order input, forget, output, candidate.

    Args:
        channels: C of the input.
        hidden: width of the state.
        kernel_size: of input-to-state and state-to-state convolutions.
        initial_weights: see ``models.initial_weights``.
    """

    def __init__(self, channels: int, hidden: int, kernel_size: int, initial_weights: InitialWeights) -> None:
        super().__init__()
        self.input_weight = nn.Parameter(kernel(4 * hidden, channels, kernel_size))  # W_x
        self.hidden_weight = nn.Parameter(kernel(4 * hidden, hidden, kernel_size))  # W_h
        self.bias = nn.Parameter(torch.zeros(4 * hidden))  # of the forget gate too (the released code)
        draw_(self.input_weight, initial_weights, kernel=True)
        draw_(self.hidden_weight, initial_weights, kernel=True)


class MapClassifier(StepClassifier):
    """VideoLSTM's classifier of hidden maps: flatten, tanh layer, dropout, linear.

    Args:
        shape: C, H, W of the maps.
        num_classes: K.
        fc_dim: width of the tanh layer.
        dropout: share dropped before the classifier.
        initial_weights: see ``models.initial_weights``.
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


class ConvLSTM(nn.Module):
    """An LSTM whose products are convolutions over maps; every step is classified.

    Args:
        num_classes: K.
        feature_shape: C, H, W: (512, 7, 7) for VGG-16's pool5, of rgb or of flow.
        hidden: channels of the state; 512 in sec. 5.2.
        kernel_size: of all convolutions; 3 in sec. 5.2.
        initial_state: ``zero`` (the released script), or ``learned`` as the attention networks have it.
        fc_dim: width of the tanh layer before the classifier; 1,024 in sec. 5.2.
        dropout: share dropped before the classifier, 0 to 1; 0.7 in sec. 5.2.
        initial_weights: as the released ``code`` draws them, or as ``pytorch`` does.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        feature_shape: tuple[int, int, int],
        hidden: int = 512,
        kernel_size: int = 3,
        initial_state: InitialState = "zero",
        fc_dim: int = 1024,
        dropout: float = 0.7,
        initial_weights: InitialWeights = "code",
    ) -> None:
        super().__init__()
        channels, height, width = feature_shape
        self.hidden = hidden
        self.gates = ConvGates(channels, hidden, kernel_size, initial_weights)
        self.initial = map_state(channels, hidden, kernel_size, initial_state, initial_weights)
        self.classifier = MapClassifier(
            (hidden, height, width),
            num_classes,
            fc_dim=fc_dim,
            dropout=dropout,
            initial_weights=initial_weights,
        )

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Output:
        """Classify every step.

        Args:
            features: ``(N, T, C, H, W)``.
            mask: ``(N, T)`` bool, valid steps first.

        Returns:
            Logits ``(N, T, K)``; VideoLSTM averages their softmax over the steps.
        """
        x = steps_of(features, mask)  # (T, N, H, W, C)
        from_input = TimeProduct(self.gates.input_weight, self.gates.bias)(x)
        from_state = TimeProduct(self.gates.hidden_weight, steps=len(x))
        h, c = first_state(self.initial, x, mask, self.hidden)
        states = []
        for gates in from_input.unbind(0):
            h, c = lstm_cell(from_state(h, gates), c)
            states.append(h)
        return Output(self.classifier.logits(states, mask))


def map_state(
    channels: int, hidden: int, kernel_size: int, initial_state: InitialState, initial_weights: InitialWeights
) -> LearnedState | None:
    """Return what learns the first state from maps, or None for zeros."""
    if initial_state == "zero":
        return None
    return LearnedState(channels, hidden, kernel_size=kernel_size, initial_weights=initial_weights)


def first_state(initial: LearnedState | None, x: Tensor, mask: Tensor | None, hidden: int) -> tuple[Tensor, Tensor]:
    """Return hidden state and cell before the first step of ``x (T, N, ..., C)``, each ``(N, ..., hidden)``."""
    return zero_state(x[0], hidden) if initial is None else initial(mean_over_time(x, mask))


def steps_of(features: Tensor, mask: Tensor | None) -> Tensor:
    """Return maps ``(N, T, C, H, W)`` as ``(T, N, H, W, C)``, with zeros where a clip is padded.

    Raises:
        ValueError: if the mask is no prefix mask.
    """
    x = features.permute(1, 0, 3, 4, 2)
    if mask is None:
        return x.contiguous()
    lengths_of(mask)
    return without_padding(x, mask.t()).contiguous()
