"""PyTorch's LSTM over vectors, in a form for every transform and processor."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.parts.transforms import transformed


def hidden_states(layer: nn.LSTM, x: Tensor) -> Tensor:
    """Run a layer from a state of zeros.

    PyTorch's kernels have no rule for ``torch.func.vmap`` and for forward-mode differentiation; there the layer runs
    step by step. On a processor it runs in float32 under autocast too: few processors have a kernel for less. Second
    derivatives exist except through cuDNN's kernel, whose error message names the alternative.

    Args:
        layer: one layer, batch first.
        x: ``(N, T, D)``.

    Returns:
        The hidden states ``(N, T, hidden)``.
    """
    if transformed():
        return _step_by_step(layer, x)
    if x.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
        with torch.autocast("cpu", enabled=False):
            states: Tensor = layer(x.to(layer.all_weights[0][0].dtype))[0]
    else:
        states = layer(x)[0]
    return states


def _step_by_step(layer: nn.LSTM, x: Tensor) -> Tensor:
    from_input, from_state, input_bias, state_bias = layer.all_weights[0]
    gates = F.linear(x, from_input, input_bias + state_bias)
    h = c = x.new_zeros(len(x), layer.hidden_size)
    states = []
    for own in gates.unbind(1):
        h, c = lstm_step(own + h @ from_state.t(), c)
        states.append(h)
    return torch.stack(states, 1)


def lstm_step(gates: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Return h and c ``(N, hidden)`` from the four sums of PyTorch's order, i, f, g, o, in ``(N, 4 * hidden)``."""
    i, f, g, o = gates.chunk(4, 1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c
