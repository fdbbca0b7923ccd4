"""MATDL in plain loops over videos and steps: equations 1 to 10, a list for a memory. Shares no code with models/."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor


class Weights(NamedTuple):
    """What the equations name; the LSTM as PyTorch writes it, gates i, f, g, o."""

    W_x: Tensor  # (4 hidden, d)
    W_h: Tensor  # (4 hidden, hidden)
    b_x: Tensor
    b_h: Tensor
    W_w: Tensor  # (D, d)
    W_sf: Tensor  # (controller, d)
    W_sc: Tensor  # (controller, hidden)
    W_sm: Tensor  # (controller, D)
    b_s: Tensor
    v_s: Tensor  # (controller,)
    W_y: Tensor  # (K, D)
    b_y: Tensor


def weights_of(state: Mapping[str, Tensor]) -> Weights:
    """Find the equations' letters among the names of ``models.memory.MemoryNetwork``."""
    return Weights(
        W_x=state["lstm.weight_ih"],
        W_h=state["lstm.weight_hh"],
        b_x=state["lstm.bias_ih"],
        b_h=state["lstm.bias_hh"],
        W_w=state["write.weight"],
        W_sf=state["feature.weight"],
        W_sc=state["context.weight"],
        W_sm=state["history.weight"],
        b_s=state["feature.bias"],
        v_s=state["decision.weight"][0],
        W_y=state["classifier.weight"],
        b_y=state["classifier.bias"],
    )


class Result(NamedTuple):
    """Of one video: scores (K,), decisions and probabilities (T,), the memory's mean (D,)."""

    scores: Tensor
    writes: Tensor
    probability: Tensor
    feature: Tensor


def lstm(w: Weights, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Equation 3."""
    i, f, g, o = (w.W_x @ x + w.b_x + w.W_h @ h + w.b_h).chunk(4)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def read(memory: list[tuple[Tensor, Tensor]], width: int, like: Tensor) -> Tensor:
    """Equation 1, as a mean; the masked sum gives a gradient to every decision (equation 10), writing or not."""
    total, count = torch.zeros(width, dtype=like.dtype, device=like.device), 0.0
    for s, m in memory:
        total = total + s * m
        count = count + s
    return total / count if any(s.item() == 1 for s, _ in memory) else total


def video(w: Weights, frames: Tensor, threshold: float = 0.5, empty_memory: str = "mean") -> Result:
    """Run one video of ``frames (T, d)``."""
    h = c = torch.zeros(w.W_h.shape[1], dtype=frames.dtype, device=frames.device)
    memory: list[tuple[Tensor, Tensor]] = []  # decision and item of every step so far
    writes, probabilities = [], []
    for x in frames:
        history = read(memory, len(w.W_w), frames)  # M'_t, before the step
        h_hat, c_hat = lstm(w, x, h, c)
        q = w.v_s @ torch.relu(w.W_sf @ x + w.W_sc @ h_hat + w.W_sm @ history + w.b_s)  # equation 6
        a = torch.sigmoid(q)  # equation 7
        s = torch.ones_like(a) if a > threshold else torch.zeros_like(a)  # equations 8 and 9
        s = s + (a - a.detach())  # equation 10
        h, c = s * h_hat, s * c_hat  # equations 4 and 5
        memory.append((s, w.W_w @ x))  # equation 2
        writes.append(s)
        probabilities.append(a)
    if not any(s.item() == 1 for s in writes):  # the stated rule
        best = max(range(len(memory)), key=lambda t: probabilities[t].item())
        memory = [(s + (1 if empty_memory == "mean" or t == best else 0), m) for t, (s, m) in enumerate(memory)]
    feature = read(memory, len(w.W_w), frames)
    return Result(w.W_y @ feature + w.b_y, torch.stack(writes), torch.stack(probabilities), feature)
