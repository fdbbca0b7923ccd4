"""Convolutional LSTM (Shi et al.; VideoLSTM, section 3.1, eqs. 1 to 6 without attention)."""

from __future__ import annotations

from torch import Tensor, nn

from models.parts.initial_weights import InitialWeights
from models.parts.options import Count, Hidden, OddCount, Share, one_width
from models.parts.output import Output
from models.recurrence.classifiers import MapClassifier
from models.recurrence.gates import ConvGates
from models.recurrence.initial_state import InitialState, first_state, map_state
from models.recurrence.lstm_cell import lstm_cell
from models.recurrence.steps import steps_of
from models.recurrence.time_product import TimeProduct


class ConvLSTM(nn.Module):
    """An LSTM whose products are convolutions over maps; every step is classified.

    Args:
        num_classes: K.
        feature_shape: C, H, W: (512, 7, 7) for VGG-16's pool5, of rgb or of flow.
        hidden: channels of the state; 512 in sec. 5.2.
        kernel_size: of all convolutions; 3 in sec. 5.2.
        initial_state: ``zero`` (the released script), or ``learned`` as the attention networks have it.
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
        initial_state: InitialState = "zero",
        fc_dim: Count = 1024,
        dropout: Share = 0.7,
        initial_weights: InitialWeights = "code",
    ) -> None:
        super().__init__()
        channels, height, width = feature_shape
        self.hidden = state = one_width(hidden)
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
