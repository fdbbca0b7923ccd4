"""The elementwise part of an LSTM step without peepholes (VideoLSTM, eqs. 1 to 6)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from models.parts.transforms import in_a_batch, own_gradients


def lstm_cell(gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """Advance a state by one step.

    Args:
        gates: ``(..., 4 D)`` before their nonlinearities, in the paper's order: input, forget, output, candidate.
        cell: ``(..., D)``, in whose type the state is kept.

    Returns:
        The hidden state and the cell, each ``(..., D)``.
    """
    if not own_gradients():
        return _plain(gates.to(cell.dtype), cell)
    hidden, cell, _ = _Cell.apply(gates, cell)
    return hidden, cell


def _plain(gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    i, f, o, g = gates.chunk(4, -1)
    cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
    return o.sigmoid() * cell.tanh(), cell


class _Cell(torch.autograd.Function):
    """The same with a backward pass that writes the gates' gradient in place, in a third of autograd's operations.

    The gates after their nonlinearities are an output too, so that second derivatives can be taken through them.
    """

    @staticmethod
    def forward(ctx: Any, gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        width = cell.shape[-1]
        active = torch.empty_like(gates, dtype=cell.dtype)
        torch.sigmoid(gates[..., : 3 * width].to(cell.dtype), out=active[..., : 3 * width])
        torch.tanh(gates[..., 3 * width :].to(cell.dtype), out=active[..., 3 * width :])
        i, f, o, g = active.chunk(4, -1)
        new = (f * cell).addcmul_(i, g)  # eq. 5
        squashed = new.tanh()
        ctx.save_for_backward(active, cell, new, squashed)
        ctx.gates_dtype = gates.dtype
        ctx.set_materialize_grads(False)
        return o * squashed, new, active  # eq. 6

    @staticmethod
    def backward(
        ctx: Any, grad_hidden: Tensor | None, grad_new: Tensor | None, grad_active: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        active, cell, new, squashed = ctx.saved_tensors
        grad_hidden = torch.zeros_like(cell) if grad_hidden is None else grad_hidden
        gradients = (grad_hidden, grad_new, grad_active)
        if torch.is_grad_enabled() or any(g is not None and in_a_batch(g) for g in gradients):
            grad, grad_cell = _differentiable(active, cell, new, gradients)
        else:
            grad, grad_cell = _in_place(active, cell, squashed, gradients)
        return grad.to(ctx.gates_dtype), grad_cell


Gradients = tuple[Tensor, Tensor | None, Tensor | None]
"""Of the hidden state, of the cell, and of the gates after their nonlinearities."""


def _in_place(active: Tensor, cell: Tensor, squashed: Tensor, gradients: Gradients) -> tuple[Tensor, Tensor]:
    """Return the gradients of the gates and of the cell before the step."""
    grad_hidden, grad_new, grad_active = gradients
    width = cell.shape[-1]
    i, f, o, g = active.chunk(4, -1)
    grad_cell = torch.ops.aten.tanh_backward(grad_hidden * o, squashed)
    if grad_new is not None:
        grad_cell.add_(grad_new)
    grad = torch.empty_like(active)
    for gate, (left, right) in enumerate(((grad_cell, g), (grad_cell, cell), (grad_hidden, squashed), (grad_cell, i))):
        torch.mul(left, right, out=grad[..., gate * width : (gate + 1) * width])
    if grad_active is not None:
        grad += grad_active
    sigmoids, tanh = slice(3 * width), slice(3 * width, None)
    grad[..., sigmoids] = torch.ops.aten.sigmoid_backward(grad[..., sigmoids], active[..., sigmoids])
    grad[..., tanh] = torch.ops.aten.tanh_backward(grad[..., tanh], active[..., tanh])
    return grad, grad_cell * f


def _differentiable(active: Tensor, cell: Tensor, new: Tensor, gradients: Gradients) -> tuple[Tensor, Tensor]:
    """Return the same by operations that autograd can follow."""
    grad_hidden, grad_new, grad_active = gradients
    i, f, o, g = active.chunk(4, -1)
    squashed = new.tanh()
    grad_cell = grad_hidden * o * (1 - squashed.square())
    grad_cell = grad_cell if grad_new is None else grad_cell + grad_new
    grad = torch.cat([grad_cell * g, grad_cell * cell, grad_hidden * squashed, grad_cell * i], -1)
    grad = grad if grad_active is None else grad + grad_active
    slopes = torch.cat([*(gate * (1 - gate) for gate in (i, f, o)), 1 - g.square()], -1)
    return grad * slopes, grad_cell * f
