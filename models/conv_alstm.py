"""Convolutional ALSTM: a ConvLSTM that attends to positions of its input (VideoLSTM, section 3.1)."""

from __future__ import annotations

from torch import Tensor, nn

from models.parts.initial_weights import InitialWeights
from models.parts.options import Count, Hidden, OddCount, Share, one_width
from models.parts.output import Output
from models.recurrence.attended_product import AttendedProduct
from models.recurrence.attention import SpatialAttention, attention_maps
from models.recurrence.classifiers import MapClassifier
from models.recurrence.gates import ConvGates
from models.recurrence.initial_state import InitialState, first_state, map_state
from models.recurrence.lstm_cell import lstm_cell
from models.recurrence.steps import steps_of
from models.recurrence.time_product import TimeProduct


class ConvALSTM(nn.Module):
    """Attention from the step's maps and the previous state, then a ConvLSTM step on the weighted maps.

    Maps are weighted by their share alone, about 1 / (H W), in the paper (eq. 9) and in its code.

    Args:
        num_classes: K.
        feature_shape: C, H, W: (512, 7, 7) for VGG-16's pool5, of rgb or of flow.
        hidden: channels of the state; 512 in sec. 5.2.
        kernel_size: of input-to-state and state-to-state convolutions; 3 in sec. 5.2.
        attention_dim: channels of the attention's 1x1 convolutions; 512 in sec. 5.2.
        initial_state: ``learned`` from the mean map (the released code) or ``zero``.
        fc_dim: width of the tanh layer before the classifier; 1,024 in sec. 5.2.
        dropout: share dropped before the classifier; 0.7 in sec. 5.2.
        initial_weights: as the released ``code`` draws them, or as ``pytorch`` does.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        feature_shape: tuple[int, int, int],
        hidden: Hidden = 512,
        kernel_size: OddCount = 3,
        attention_dim: Count = 512,
        initial_state: InitialState = "learned",
        fc_dim: Count = 1024,
        dropout: Share = 0.7,
        initial_weights: InitialWeights = "code",
    ) -> None:
        super().__init__()
        channels, height, width = feature_shape
        self.hidden = state = one_width(hidden)
        self.attention = SpatialAttention(channels, state, attention_dim, kernels=True, initial_weights=initial_weights)
        self.gates = ConvGates(channels, state, kernel_size, initial_weights)
        self.initial = map_state(channels, state, kernel_size, initial_state, initial_weights)
        self.classifier = MapClassifier(
            (state, height, width),
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
            Logits ``(N, T, K)`` and attention ``(N, T, H, W)``.
        """
        x = steps_of(features, mask)  # (T, N, H, W, C)
        seen = self.attention.features(x).flatten(2, 3)  # (T, N, P, A)
        from_state = TimeProduct(self.gates.hidden_weight, self.gates.bias, steps=len(x))
        from_attended = AttendedProduct(self.gates.input_weight, x)
        attend_state = TimeProduct(self.attention.hidden_weight, steps=len(x))
        h, c = first_state(self.initial, x, mask, self.hidden)
        states, maps = [], []
        for step, from_features in enumerate(seen.unbind(0)):
            shares = self.attention.shares(from_features, attend_state(h).flatten(1, 2))  # eqs. 7, 8
            attended = from_attended(step, shares.view(h.shape[:-1]))  # W_x * (A X), eq. 9
            h, c = lstm_cell(from_state(h, attended), c)
            states.append(h)
            maps.append(shares)
        return Output(self.classifier.logits(states, mask), attention=attention_maps(maps, x, mask))
