"""Temporal Segment LSTM (TS-LSTM, section 3.2; details from the authors' ``RNN/model.lua``)."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from models.parts.batch_norm import StepBatchNorm
from models.parts.initial_weights import InitialWeights, draw_all_
from models.parts.masking import Pooling, pool
from models.parts.options import Count, Hidden, Share, widths_of
from models.parts.output import Output
from models.parts.segments import cut_segments
from models.recurrence.lstm_layer import hidden_states


class TSLSTM(nn.Module):
    """Batch norm per segment, pooling over each segment, LSTM over segments, batch norm, linear.

    T steps are cut into S segments of floor(T / S) steps; the remainder is dropped (of 25 frames and 3 segments the
    25th is unused). Deviations from the Torch7 code: PyTorch's LSTM has no peepholes and two biases a gate, and the
    state starts at zero for every video, whereas the code carries it from one mini-batch to the next.

    Args:
        num_classes: K.
        feature_dim: D.
        segments: S.
        hidden: width of the LSTM, or of each of its stacked layers; the last step of the top layer is classified.
        pooling: ``max`` or ``mean`` over the steps of a segment.
        batch_norm: the batch norms before pooling and after the LSTM, or neither ("ConvNet + LSTM" in Table 3).
        shared_batch_norm: one input batch norm for all segments in place of one for each.
        dropout: share of LSTM outputs dropped before the linear layer; 0 in the paper.
        initial_weights: as ``pytorch`` draws them, or all from uniform(-0.1, 0.1) as TS-LSTM's ``code`` does, batch
            norms' scales too. The paper does not say.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        feature_dim: int,
        segments: Count = 3,
        hidden: Hidden = (512,),
        pooling: Pooling = "max",
        batch_norm: bool = True,
        shared_batch_norm: bool = False,
        dropout: Share = 0.0,
        initial_weights: InitialWeights = "pytorch",
    ) -> None:
        super().__init__()
        self.segments, self.pooling = segments, pooling
        self.input_norm = StepBatchNorm(feature_dim, 1 if shared_batch_norm else segments) if batch_norm else None
        widths = [feature_dim, *widths_of(hidden)]
        self.layers = nn.ModuleList(
            nn.LSTM(width, following, batch_first=True) for width, following in pairwise(widths)
        )
        self.norm = nn.BatchNorm1d(widths[-1]) if batch_norm else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(widths[-1], num_classes)
        draw_all_(self, initial_weights)

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Output:
        """Classify videos.

        Args:
            features: ``(N, T, D)``.
            mask: ``(N, T)`` bool, valid steps first; a clip is cut into segments by its own length.

        Returns:
            Logits ``(N, K)``.

        Raises:
            ValueError: if a clip has fewer than S valid steps.
        """
        x, valid = cut_segments(features, self.segments, mask)  # (N, S, T // S, D)
        if self.input_norm is not None:
            x = self.input_norm(x, valid)
        x = pool(x, self.pooling, valid)  # (N, S, D)
        for layer in self.layers:
            assert isinstance(layer, nn.LSTM)
            x = hidden_states(layer, x)
        return Output(self.classifier(self.dropout(self.norm(x[:, -1]))))
