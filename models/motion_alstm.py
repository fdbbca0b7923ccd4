"""Motion-based ALSTM: an LSTM on flow vectors steers the attention of an LSTM on rgb maps (VideoLSTM, section 3.2)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from models.parts.initial_weights import InitialWeights, draw_
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


class MotionALSTM(nn.Module):
    """A bottom LSTM on flow vectors gives the attention of a top LSTM on rgb maps, which is classified.

    Args:
        num_classes: K.
        feature_shape: ``rgb`` C, H, W, (512, 7, 7) for VGG-16's pool5, and ``flow`` (D,), 4,096 for its fc7.
        hidden: width of both states; 512 in sec. 5.2.
        attention_dim: width of the attention's layer; 512, the code's C.
        initial_state: ``learned`` from the means (the released code) or ``zero``.
        fc_dim: width of the tanh layer before the classifier; 1,024 in sec. 5.2.
        dropout: share dropped before and after the tanh layer: 0.5 in the code, 0.7 in the text.
        initial_weights: as the released ``code`` draws them, or as ``pytorch`` does.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        feature_shape: Mapping[str, tuple[int, ...]],
        hidden: Hidden = 512,
        attention_dim: Count = 512,
        initial_state: InitialState = "learned",
        fc_dim: Count = 1024,
        dropout: Share = 0.5,
        initial_weights: InitialWeights = "code",
    ) -> None:
        super().__init__()
        channels, motion_dim = feature_shape["rgb"][0], feature_shape["flow"][0]
        self.hidden = state = one_width(hidden)
        self.motion_gates = VectorGates(motion_dim, state, initial_weights)
        self.motion_initial = vector_state(motion_dim, state, initial_state, initial_weights)
        self.top_weight = nn.Parameter(torch.empty(4 * state, state))  # W_e
        draw_(self.top_weight, initial_weights, kernel=False)
        self.attention = SpatialAttention(
            channels, state, attention_dim, kernels=False, initial_weights=initial_weights
        )
        self.gates = VectorGates(channels, state, initial_weights)
        self.initial = vector_state(channels, state, initial_state, initial_weights)
        self.classifier = vector_classifier(state, num_classes, fc_dim, dropout, initial_weights)

    def forward(self, features: Mapping[str, Tensor], mask: Tensor | None = None) -> Output:
        """Classify every step.

        Args:
            features: maps ``rgb (N, T, C, H, W)`` and vectors ``flow (N, T, D)``.
            mask: ``(N, T)`` bool, valid steps first.

        Returns:
            Logits ``(N, T, K)`` and attention ``(N, T, H, W)``.
        """
        x = steps_of(features["rgb"], mask)  # (T, N, H, W, C)
        positions = x.flatten(2, 3)  # (T, N, P, C)
        motion = without_padding(features["flow"], mask).transpose(0, 1)  # (T, N, D)
        seen = self.attention.features(positions)
        from_motion = TimeProduct(self.motion_gates.input_weight, self.motion_gates.bias)(motion)
        both = TimeProduct(torch.cat([self.motion_gates.hidden_weight, self.top_weight], 1), steps=len(x))
        top_weight = torch.cat([self.gates.input_weight, self.gates.hidden_weight], 1)
        from_input = TimeProduct(top_weight, self.gates.bias, steps=len(x))
        attend_state = TimeProduct(self.attention.hidden_weight, steps=len(x))
        h, c = first_state(self.initial, positions.mean(2), mask, self.hidden)
        motion_h, motion_c = first_state(self.motion_initial, motion, mask, self.hidden)
        states, maps = [], []
        for step, from_flow in enumerate(from_motion.unbind(0)):
            motion_h, motion_c = lstm_cell(both(torch.cat([motion_h, h], -1), from_flow), motion_c)
            shares = self.attention.shares(seen[step], attend_state(motion_h)[:, None])
            attended = torch.cat([expectation(shares, positions[step]), h], -1)
            h, c = lstm_cell(from_input(attended), c)
            states.append(h)
            maps.append(shares)
        logits = without_padding(self.classifier(torch.stack(states, 1)), mask)
        return Output(logits, attention=attention_maps(maps, x, mask))
