"""Products with one weight at every step of a recurrence, whose weight gradient is one product over all steps.

Autograd would multiply and add a gradient of the weight's size at every step, which is most of a convolutional LSTM's
backward pass at small batches. Here each step's backward pass keeps its output's gradient, and the weight's gradient
is taken once, after the last of them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from models.patches import fold, kernel_matrix, patches


def product_dtype(x: Tensor) -> torch.dtype:
    """Return the type that products have for ``x``: the autocast type inside ``torch.autocast``, else its own."""
    if x.dtype != torch.float64 and torch.is_autocast_enabled(x.device.type):
        return torch.get_autocast_dtype(x.device.type)
    return x.dtype


class TimeProduct:
    """A linear layer or a convolution for the steps of one forward pass.

    Args:
        weight: ``(O, C)``, or a kernel ``(O, C, size, size)`` for maps, padded to keep their height and width.
        bias: ``(O,)``, or None for none.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        dtype = product_dtype(weight)
        self._size = 1 if weight.ndim == 2 else weight.shape[-1]
        self._matrix = kernel_matrix(weight.to(dtype))
        self._bias = None if bias is None else bias.to(dtype)
        self._tape = Tape()
        self._token: Tensor | None = None
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():  # a compiler plans for the whole loop itself
            token = _Weight.apply(self._matrix, self._bias, self._tape, self._size)
            self._token = token if token.requires_grad else None

    def __call__(self, x: Tensor, addend: Tensor | None = None) -> Tensor:
        """Multiply.

        Args:
            x: ``(..., C)``, or maps ``(..., H, W, C)`` where the kernel is larger than 1.
            addend: ``(..., O)``, to be added to the product.

        Returns:
            ``(..., O)``.
        """
        x = x.to(self._matrix.dtype)
        rows = None if addend is None else addend.to(x.dtype).flatten(0, -2)
        if self._token is None:
            out = _product(x, self._matrix, self._bias, rows, self._size)
        else:
            bias = None if self._bias is None else self._bias.detach()
            out = _Step.apply(x, self._token, rows, self._matrix.detach(), bias, self._tape, self._size)
        return out.view(*x.shape[:-1], -1)


class Tape:
    """What the backward passes of the steps leave for the weight's: inputs and gradients of outputs."""

    def __init__(self) -> None:
        self.inputs: list[Tensor] = []
        self.gradients: list[Tensor] = []

    def take(self) -> tuple[Tensor, Tensor]:
        """Return all inputs and all gradients, each joined on the first axis, and forget them."""
        inputs, gradients = _joined(self.inputs), _joined(self.gradients)
        self.inputs, self.gradients = [], []
        return inputs, gradients


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _product(x: Tensor, matrix: Tensor, bias: Tensor | None, addend: Tensor | None, size: int) -> Tensor:
    rows = patches(x, size)
    if addend is None:
        return rows @ matrix.t() if bias is None else torch.addmm(bias, rows, matrix.t())
    out = torch.addmm(addend, rows, matrix.t())
    return out if bias is None else out.add_(bias)


class _Weight(torch.autograd.Function):
    """Gives a token that every step depends on, so that its backward pass comes after all of theirs."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, _bias: Tensor | None, tape: Tape, size: int) -> Tensor:
        ctx.tape, ctx.size = tape, size
        return matrix.new_zeros(())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, _: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        inputs, gradients = ctx.tape.take()
        matrix, bias = ctx.needs_input_grad[:2]
        return (
            gradients.t() @ patches(inputs, ctx.size) if matrix else None,
            gradients.sum(0) if bias else None,
            None,
            None,
        )


class _Step(torch.autograd.Function):
    """One step's product; of the weight's gradient it leaves the two factors."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        _token: Tensor,
        addend: Tensor | None,
        matrix: Tensor,
        bias: Tensor | None,
        tape: Tape,
        size: int,
    ) -> Tensor:
        ctx.save_for_backward(x, matrix)
        ctx.tape, ctx.size = tape, size
        return _product(x, matrix, bias, addend, size)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, matrix = ctx.saved_tensors
        ctx.tape.inputs.append(x.reshape(-1, *x.shape[(-3 if ctx.size > 1 else -1) :]))
        ctx.tape.gradients.append(gradient)
        grad_x = fold(gradient @ matrix, x.shape, ctx.size) if ctx.needs_input_grad[0] else None
        return grad_x, gradient.new_zeros(()), gradient if ctx.needs_input_grad[2] else None, None, None, None, None
