"""Soft-attention LSTM (Sharma et al.), its motion-based form (VideoLSTM, section 3.2): expectation over positions."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.models.reference.elements import Weights, classify, gates, initial, mean, positions, softmax, update


def _gates(weights: Weights, prefix: str) -> list[dict[str, Tensor]]:
    return [gates(weights[f"{prefix}.{name}"]) for name in ("input_weight", "hidden_weight", "bias")]


def _shares(weights: Weights, regions: list[Tensor], h: Tensor) -> list[Tensor]:
    """e_i = U tanh(W_c x_i + W_d h + b) + c, and a softmax over regions."""
    scores = []
    for x_i in regions:
        inner = weights["attention.feature_weight"] @ x_i + weights["attention.hidden_weight"] @ h
        hidden = torch.tanh(inner + weights["attention.bias"])
        scores.append(weights["attention.score_weight"][0] @ hidden + weights["attention.score_bias"][0])
    return softmax(scores)


def _expectation(shares: list[Tensor], regions: list[Tensor]) -> Tensor:
    total = torch.zeros_like(regions[0])
    for share, region in zip(shares, regions, strict=True):
        total = total + share * region
    return total


def alstm(weights: Weights, video: Tensor) -> tuple[Tensor, Tensor]:
    """Return logits ``(T, K)`` and attention ``(T, H, W)`` of one video ``(T, C, H, W)``."""
    w_x, w_h, b = _gates(weights, "gates")
    h, c = initial(weights, "initial", [mean(positions(x)) for x in video], torch.zeros_like(b["i"]))
    logits, maps = [], []
    for x in video:
        shares = _shares(weights, positions(x), h)
        attended = _expectation(shares, positions(x))
        h, c = update({n: w_x[n] @ attended + w_h[n] @ h + b[n] for n in "ifoc"}, c)
        logits.append(classify(weights, h))
        maps.append(torch.stack(shares).view(video.shape[2:]))
    return torch.stack(logits), torch.stack(maps)


def motion_alstm(weights: Weights, rgb: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
    """Return logits ``(T, K)`` and attention ``(T, H, W)`` of one video, rgb ``(T, C, H, W)``, flow ``(T, D)``."""
    w_x, w_h, b = _gates(weights, "gates")
    m_x, m_h, m_b = _gates(weights, "motion_gates")
    w_e = gates(weights["top_weight"])
    h, c = initial(weights, "initial", [mean(positions(x)) for x in rgb], torch.zeros_like(b["i"]))
    h_m, c_m = initial(weights, "motion_initial", list(flow), torch.zeros_like(b["i"]))
    logits, maps = [], []
    for x, m in zip(rgb, flow, strict=True):
        h_m, c_m = update({n: m_x[n] @ m + m_h[n] @ h_m + w_e[n] @ h + m_b[n] for n in "ifoc"}, c_m)
        shares = _shares(weights, positions(x), h_m)
        attended = _expectation(shares, positions(x))
        h, c = update({n: w_x[n] @ attended + w_h[n] @ h + b[n] for n in "ifoc"}, c)
        logits.append(classify(weights, h))
        maps.append(torch.stack(shares).view(rgb.shape[2:]))
    return torch.stack(logits), torch.stack(maps)
