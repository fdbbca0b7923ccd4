"""Convolutional ALSTM: VideoLSTM, eqs. 1 to 9."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.models.reference.elements import (
    Weights,
    add_bias,
    classify,
    convolve,
    gates,
    initial,
    positions,
    softmax,
    update,
)


def attention_map(weights: Weights, x: Tensor, h: Tensor) -> Tensor:
    """Eqs. 7 and 8: ``(H, W)`` from a frame ``(C, H, W)`` and a state."""
    scores = []
    for x_ij, h_ij in zip(positions(x), positions(h), strict=True):
        inner = weights["attention.feature_weight"] @ x_ij + weights["attention.hidden_weight"] @ h_ij
        hidden = torch.tanh(inner + weights["attention.bias"])
        scores.append(weights["attention.score_weight"][0] @ hidden + weights["attention.score_bias"][0])  # eq. 7
    return torch.stack(softmax(scores)).view(x.shape[1:])  # eq. 8


def conv_alstm(weights: Weights, video: Tensor) -> tuple[Tensor, Tensor]:
    """Return logits ``(T, K)`` and attention ``(T, H, W)`` of one video ``(T, C, H, W)``."""
    w_x, w_h, b = (gates(weights[f"gates.{name}"]) for name in ("input_weight", "hidden_weight", "bias"))
    frames = list(video)
    h, c = initial(weights, "initial", frames, torch.zeros(len(b["i"]), *video.shape[2:], dtype=video.dtype))
    logits, maps = [], []
    for x in frames:
        a = attention_map(weights, x, h)
        attended = a * x  # eq. 9, for each channel
        h, c = update({n: add_bias(convolve(w_x[n], attended) + convolve(w_h[n], h), b[n]) for n in "ifoc"}, c)
        logits.append(classify(weights, torch.cat(positions(h))))
        maps.append(a)
    return torch.stack(logits), torch.stack(maps)
