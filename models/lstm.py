"""Vanilla LSTM over frame features (TS-LSTM, Tables 3 and 7; VideoLSTM, section 5.2)."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from models.parts.batch_norm import StepBatchNorm
from models.parts.initial_weights import InitialWeights, draw_all_
from models.parts.masking import lengths_of, pool, without_padding
from models.parts.options import Count, Hidden, Share, widths_of
from models.parts.output import Output
from models.recurrence.classifiers import StepClassifier
from models.recurrence.lstm_layer import hidden_states

Predict = Literal["last", "mean", "steps"]


class LSTM(nn.Module):
    """Batch norm, stacked LSTM, batch norm, classifier.

    TS-LSTM's "BN, LSTM-512, BN, FC-101" is the default. VideoLSTM's LSTM is ``batch_norm=False, predict="steps",
    fc_dim=1024, dropout=0.5`` on fc7 features: a tanh layer between two dropouts, and a loss at every step.

    Args:
        num_classes: K.
        feature_dim: D.
        hidden: width of the LSTM, or of each of its stacked layers; 512 in both papers.
        batch_norm: the batch norms before and after the LSTM, or neither ("ConvNet + LSTM" of TS-LSTM, Table 7).
        predict: what is classified: the ``last`` step (TS-LSTM's code); every step, with ``mean`` of the scores over
            the steps of a clip; or ``steps``, which leaves each step's scores apart (VideoLSTM).
        fc_dim: width of a tanh layer before the classifier, 1024 in VideoLSTM; None for none.
        dropout: share dropped before each layer of the classifier: 0 in TS-LSTM, 0.5 in VideoLSTM's code for
            the LSTM (0.7 in its text).
        initial_weights: as ``pytorch`` draws them, or all from uniform(-0.1, 0.1) as TS-LSTM's ``code`` does.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        feature_dim: int,
        hidden: Hidden = (512,),
        batch_norm: bool = True,
        predict: Predict = "last",
        fc_dim: Count | None = None,
        dropout: Share = 0.0,
        initial_weights: InitialWeights = "pytorch",
    ) -> None:
        super().__init__()
        self.predict = predict
        self.input_norm = StepBatchNorm(feature_dim) if batch_norm else None
        widths = [feature_dim, *widths_of(hidden)]
        self.layers = nn.ModuleList(
            nn.LSTM(width, following, batch_first=True) for width, following in pairwise(widths)
        )
        self.norm = StepBatchNorm(widths[-1]) if batch_norm else None
        self.classifier = StepClassifier(widths[-1], num_classes, fc_dim=fc_dim, dropout=dropout)
        draw_all_(self, initial_weights)

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Output:
        """Classify videos, or every step of them.

        Args:
            features: ``(N, T, D)``.
            mask: ``(N, T)`` bool, valid steps first.

        Returns:
            Logits ``(N, K)``, or ``(N, T, K)`` with ``predict="steps"``; embedding ``(N, D')`` of the last step.
        """
        lengths = None if mask is None else lengths_of(mask)
        x = without_padding(features, mask)
        x = x if self.input_norm is None else normalise(self.input_norm, x, mask)
        for layer in self.layers:
            assert isinstance(layer, nn.LSTM)
            x = hidden_states(layer, x)  # padding comes last, and changes no step before it
        last = last_step(x, lengths)
        if self.predict == "last":
            last = last if self.norm is None else normalise(self.norm, last[:, None])[:, 0]
            return Output(self.classifier(last), embedding=last)
        x = x if self.norm is None else normalise(self.norm, x, mask)
        logits = self.classifier(x)
        if self.predict == "mean":
            return Output(pool(logits, "mean", mask), embedding=last)
        return Output(without_padding(logits, mask), embedding=last)


def normalise(norm: StepBatchNorm, x: Tensor, mask: Tensor | None = None) -> Tensor:
    """Normalise ``x (N, T, D)`` step by step."""
    out: Tensor = norm(x[:, None], None if mask is None else mask[:, None])
    return out[:, 0]


def last_step(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Return the last valid step ``(N, D)`` of ``x (N, T, D)``."""
    return x[:, -1] if lengths is None else x[torch.arange(len(x), device=x.device), lengths - 1]
