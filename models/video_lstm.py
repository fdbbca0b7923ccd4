"""Attention steered by a ConvLSTM on optical flow (VideoLSTM, section 3.2)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from models.parts.initial_weights import InitialWeights, draw_
from models.parts.options import Count, Hidden, OddCount, Share, one_width
from models.parts.output import Output
from models.recurrence.attended_product import AttendedProduct
from models.recurrence.attention import SpatialAttention, attention_maps
from models.recurrence.classifiers import MapClassifier
from models.recurrence.gates import ConvGates
from models.recurrence.initial_state import InitialState, first_state, map_state
from models.recurrence.lstm_cell import lstm_cell
from models.recurrence.patches import kernel
from models.recurrence.steps import steps_of
from models.recurrence.time_product import TimeProduct


class VideoLSTM(nn.Module):
    """A bottom ConvLSTM on flow maps steers the attention of a top ConvLSTM on rgb maps, which is classified.

    Submodules have the names of ``ConvLSTM`` (``motion_gates``, ``motion_initial``) and ``ConvALSTM`` (all others), so
    that weights trained there can be carried over, as the released code does.

    Args:
        num_classes: K.
        feature_shape: C, H, W of both streams' maps, under ``rgb`` and ``flow``: (512, 7, 7) for VGG-16's pool5.
        hidden: channels of both states; 512 in sec. 5.2.
        kernel_size: of the top layer's convolutions; 3 in sec. 5.2.
        motion_kernel_size: of the bottom layer's: 3 in sec. 5.2, 1 in the released script.
        attention_dim: channels of the attention's 1x1 convolutions; 512 in sec. 5.2.
        initial_state: ``learned`` from the mean maps (the released code) or ``zero``.
        fc_dim: width of the tanh layer before the classifier; 1,024 in sec. 5.2.
        dropout: share dropped before the classifier; 0.7 in sec. 5.2.
        initial_weights: as the released ``code`` draws them, or as ``pytorch`` does.

    Raises:
        ValueError: if the streams' maps differ in height or width.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        feature_shape: Mapping[str, tuple[int, int, int]],
        hidden: Hidden = 512,
        kernel_size: OddCount = 3,
        motion_kernel_size: OddCount = 3,
        attention_dim: Count = 512,
        initial_state: InitialState = "learned",
        fc_dim: Count = 1024,
        dropout: Share = 0.7,
        initial_weights: InitialWeights = "code",
    ) -> None:
        super().__init__()
        (channels, *size), (motion_channels, *motion_size) = feature_shape["rgb"], feature_shape["flow"]
        if size != motion_size:
            raise ValueError(
                f"feature_shape of flow: got height and width {motion_size}, allowed: those of rgb, {size}"
            )
        self.hidden = state = one_width(hidden)
        self.motion_gates = ConvGates(motion_channels, state, motion_kernel_size, initial_weights)
        self.motion_initial = map_state(motion_channels, state, motion_kernel_size, initial_state, initial_weights)
        self.top_weight = nn.Parameter(kernel(4 * state, state, motion_kernel_size))  # W_e
        draw_(self.top_weight, initial_weights, kernel=True)
        self.attention = SpatialAttention(channels, state, attention_dim, kernels=True, initial_weights=initial_weights)
        self.gates = ConvGates(channels, state, kernel_size, initial_weights)
        self.initial = map_state(channels, state, kernel_size, initial_state, initial_weights)
        self.classifier = MapClassifier(
            (state, size[0], size[1]),
            num_classes,
            fc_dim=fc_dim,
            dropout=dropout,
            initial_weights=initial_weights,
        )

    def forward(self, features: Mapping[str, Tensor], mask: Tensor | None = None) -> Output:
        """Classify every step.

        Args:
            features: maps ``(N, T, C, H, W)`` of ``rgb`` and of ``flow``.
            mask: ``(N, T)`` bool, valid steps first.

        Returns:
            Logits ``(N, T, K)`` and attention ``(N, T, H, W)``.
        """
        x, motion = steps_of(features["rgb"], mask), steps_of(features["flow"], mask)  # (T, N, H, W, C)
        seen = self.attention.features(x).flatten(2, 3)  # (T, N, P, A)
        from_motion = TimeProduct(self.motion_gates.input_weight, self.motion_gates.bias)(motion)
        both = TimeProduct(torch.cat([self.motion_gates.hidden_weight, self.top_weight], 1), steps=len(x))
        from_state = TimeProduct(self.gates.hidden_weight, self.gates.bias, steps=len(x))
        from_attended = AttendedProduct(self.gates.input_weight, x)
        attend_state = TimeProduct(self.attention.hidden_weight, steps=len(x))
        h, c = first_state(self.initial, x, mask, self.hidden)
        motion_h, motion_c = first_state(self.motion_initial, motion, mask, self.hidden)
        states, maps = [], []
        for step, (from_features, from_flow) in enumerate(zip(seen.unbind(0), from_motion.unbind(0), strict=True)):
            motion_h, motion_c = lstm_cell(both(torch.cat([motion_h, h], -1), from_flow), motion_c)  # eqs. 10 to 15
            shares = self.attention.shares(from_features, attend_state(motion_h).flatten(1, 2))  # with H^m_t, not H_t-1
            attended = from_attended(step, shares.view(h.shape[:-1]))
            h, c = lstm_cell(from_state(h, attended), c)
            states.append(h)
            maps.append(shares)
        return Output(self.classifier.logits(states, mask), attention=attention_maps(maps, x, mask))
