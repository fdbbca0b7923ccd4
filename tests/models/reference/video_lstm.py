"""VideoLSTM, eqs. 1 to 15, with the attention of eq. 7 on the bottom layer's current state."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.models.reference.conv_alstm import attention_map
from tests.models.reference.elements import Weights, add_bias, classify, convolve, gates, initial, positions, update


def video_lstm(weights: Weights, rgb: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
    """Return logits ``(T, K)`` and attention ``(T, H, W)`` of one video, rgb and flow ``(T, C, H, W)``."""
    w_x, w_h, b = (gates(weights[f"gates.{name}"]) for name in ("input_weight", "hidden_weight", "bias"))
    m_x, m_h, m_b = (gates(weights[f"motion_gates.{name}"]) for name in ("input_weight", "hidden_weight", "bias"))
    w_e = gates(weights["top_weight"])
    zero = torch.zeros(len(b["i"]), *rgb.shape[2:], dtype=rgb.dtype)
    h, c = initial(weights, "initial", list(rgb), zero)
    h_m, c_m = initial(weights, "motion_initial", list(flow), zero)
    logits, maps = [], []
    for x, m in zip(rgb, flow, strict=True):
        bottom = {
            n: add_bias(convolve(m_x[n], m) + convolve(m_h[n], h_m) + convolve(w_e[n], h), m_b[n]) for n in "ifoc"
        }
        h_m, c_m = update(bottom, c_m)  # eqs. 10 to 15
        a = attention_map(weights, x, h_m)
        h, c = update({n: add_bias(convolve(w_x[n], a * x) + convolve(w_h[n], h), b[n]) for n in "ifoc"}, c)
        logits.append(classify(weights, torch.cat(positions(h))))
        maps.append(a)
    return torch.stack(logits), torch.stack(maps)
