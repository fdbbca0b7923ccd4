"""Convolutional LSTM: VideoLSTM, eqs. 1 to 6 with X in place of the attended X~."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.models.reference.elements import Weights, add_bias, classify, convolve, gates, initial, positions, update


def conv_lstm(weights: Weights, video: Tensor) -> tuple[Tensor, None]:
    """Return logits ``(T, K)`` of one video ``(T, C, H, W)``."""
    w_x, w_h, b = (gates(weights[f"gates.{name}"]) for name in ("input_weight", "hidden_weight", "bias"))
    frames = list(video)
    h, c = initial(weights, "initial", frames, torch.zeros(len(b["i"]), *video.shape[2:], dtype=video.dtype))
    logits = []
    for x in frames:
        h, c = update({n: add_bias(convolve(w_x[n], x) + convolve(w_h[n], h), b[n]) for n in "ifoc"}, c)
        logits.append(classify(weights, torch.cat(positions(h))))
    return torch.stack(logits), None
