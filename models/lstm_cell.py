"""The elementwise part of an LSTM step without peepholes (002, eqs. 1 to 6)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def lstm_cell(gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """Advance a state by one step.

    Args:
        gates: ``(..., 4 D)`` before their nonlinearities, in the paper's order: input, forget, output, candidate.
        cell: ``(..., D)``, in whose type the state is kept.

    Returns:
        The hidden state and the cell, each ``(..., D)``.
    """
    if torch.compiler.is_compiling():  # which fuses it by itself
        return _plain(gates.to(cell.dtype), cell)
    hidden, cell = _Cell.apply(gates, cell)
    return hidden, cell


def _plain(gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    i, f, o, g = gates.chunk(4, -1)
    cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
    return o.sigmoid() * cell.tanh(), cell


class _Cell(torch.autograd.Function):
    """The same with a backward pass that writes the gates' gradient in place, in a third of autograd's operations."""

    @staticmethod
    def forward(ctx: Any, gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        width = cell.shape[-1]
        active = torch.empty_like(gates, dtype=cell.dtype)
        torch.sigmoid(gates[..., : 3 * width].to(cell.dtype), out=active[..., : 3 * width])
        torch.tanh(gates[..., 3 * width :].to(cell.dtype), out=active[..., 3 * width :])
        i, f, o, g = active.chunk(4, -1)
        new = (f * cell).addcmul_(i, g)  # eq. 5
        squashed = new.tanh()
        ctx.save_for_backward(active, cell, squashed)
        ctx.gates_dtype = gates.dtype
        return o * squashed, new  # eq. 6

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_hidden: Tensor, grad_new: Tensor) -> tuple[Tensor, Tensor]:
        active, cell, squashed = ctx.saved_tensors
        width = cell.shape[-1]
        i, f, o, g = active.chunk(4, -1)
        grad_cell = torch.ops.aten.tanh_backward(grad_hidden * o, squashed).add_(grad_new)
        grad = torch.empty_like(active)
        for place, (left, right) in enumerate(
            ((grad_cell, g), (grad_cell, cell), (grad_hidden, squashed), (grad_cell, i))
        ):
            torch.mul(left, right, out=grad[..., place * width : (place + 1) * width])
        sigmoids, tanh = slice(3 * width), slice(3 * width, None)
        grad[..., sigmoids] = torch.ops.aten.sigmoid_backward(grad[..., sigmoids], active[..., sigmoids])
        grad[..., tanh] = torch.ops.aten.tanh_backward(grad[..., tanh], active[..., tanh])
        return grad.to(ctx.gates_dtype), grad_cell * f
