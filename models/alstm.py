"""Soft-attention LSTM (Sharma et al., as VideoLSTM compares with it; Fig. 2, left)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.parts.initial_weights import InitialWeights
from models.parts.masking import without_padding
from models.parts.options import Count, Hidden, Share, one_width
from models.parts.output import Output
from models.recurrence.attention import SpatialAttention, attention_maps, expectation
from models.recurrence.classifiers import vector_classifier
from models.recurrence.gates import VectorGates
from models.recurrence.initial_state import InitialState, first_state, vector_state
from models.recurrence.lstm_cell import lstm_cell
from models.recurrence.steps import steps_of
from models.recurrence.time_product import TimeProduct


class ALSTM(nn.Module):
    """An LSTM on the attention-weighted sum of the positions of a map; every step is classified.

    Args:
        num_classes: K.
        feature_shape: C, H, W: (512, 7, 7) for VGG-16's pool5, of rgb or of flow.
        hidden: width of the state; 512 in sec. 5.2.
        attention_dim: width of the attention's layer; 512, the code's C.
        initial_state: ``learned`` from the mean over time and positions (the released code) or ``zero``.
        fc_dim: width of the tanh layer before the classifier; 1,024 in sec. 5.2.
        dropout: share dropped before and after the tanh layer: 0.5 in the code, 0.7 in the text.
        initial_weights: as the released ``code`` draws them, or as ``pytorch`` does.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        feature_shape: tuple[int, int, int],
        hidden: Hidden = 512,
        attention_dim: Count = 512,
        initial_state: InitialState = "learned",
        fc_dim: Count = 1024,
        dropout: Share = 0.5,
        initial_weights: InitialWeights = "code",
    ) -> None:
        super().__init__()
        channels = feature_shape[0]
        self.hidden = state = one_width(hidden)
        self.attention = SpatialAttention(
            channels, state, attention_dim, kernels=False, initial_weights=initial_weights
        )
        self.gates = VectorGates(channels, state, initial_weights)
        self.initial = vector_state(channels, state, initial_state, initial_weights)
        self.classifier = vector_classifier(state, num_classes, fc_dim, dropout, initial_weights)

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Output:
        """Classify every step.

        Args:
            features: ``(N, T, C, H, W)``.
            mask: ``(N, T)`` bool, valid steps first.

        Returns:
            Logits ``(N, T, K)`` and attention ``(N, T, H, W)``.
        """
        x = steps_of(features, mask)  # (T, N, H, W, C)
        positions = x.flatten(2, 3)  # (T, N, P, C)
        seen = self.attention.features(positions)
        # One product multiplies the state by the attention's weight and by that of the gates.
        from_state = TimeProduct(torch.cat([self.attention.hidden_weight, self.gates.hidden_weight]), steps=len(x))
        from_input = TimeProduct(self.gates.input_weight, self.gates.bias, steps=len(x))
        width = self.attention.hidden_weight.shape[0]
        h, c = first_state(self.initial, positions.mean(2), mask, self.hidden)
        states, maps = [], []
        for step_x, from_features in zip(positions.unbind(0), seen.unbind(0), strict=True):
            state = from_state(h)
            shares = self.attention.shares(from_features, state[:, None, :width])
            h, c = lstm_cell(from_input(expectation(shares, step_x), state[:, width:]), c)
            states.append(h)
            maps.append(shares)
        logits = without_padding(self.classifier(torch.stack(states, 1)), mask)
        return Output(logits, attention=attention_maps(maps, x, mask))
