"""Products with one weight at every step of a recurrence, whose weight gradient is one product over all steps.

Autograd would multiply and add a gradient of the weight's size at every step, which is most of a convolutional LSTM's
backward pass at small batches. Here a step's backward pass returns the two factors of the weight's gradient, its input
and its output's gradient, and one product over all steps comes last.

The factors go through the graph itself, as the gradients of two slots that each step takes beside its input. Nothing
is kept between two autograd calls: gradients of a part of the graph, retained graphs and second derivatives are those
of plain autograd.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from models.parts.transforms import own_gradients
from models.recurrence.patches import fold, kernel_matrix, patches


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
        steps: how often it is called at most, each time with an input of the same shape.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None, *, steps: int = 1) -> None:
        dtype = product_dtype(weight)
        self._size = 1 if weight.ndim == 2 else weight.shape[-1]
        self._matrix = kernel_matrix(weight.to(dtype))
        self._bias = None if bias is None else bias.to(dtype)
        self._steps = steps
        learns = self._matrix.requires_grad or (self._bias is not None and self._bias.requires_grad)
        self._plain = not (learns and torch.is_grad_enabled() and own_gradients())
        self._slots: Iterator[tuple[Tensor, Tensor]] | None = None

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
        if self._plain:
            out = _product(x, self._matrix, self._bias, rows, self._size)
        else:
            if self._slots is None:
                self._slots = self._make_slots(x)
            bias = None if self._bias is None else self._bias.detach()
            out = _Step.apply(x, *next(self._slots), rows, self._matrix, bias, self._size)
        return out.view(*x.shape[:-1], -1)

    def _make_slots(self, x: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Return the slots of each step: one of its input's shape, one of its output's rows."""
        shapes = (x.shape, (x[..., 0].numel(), len(self._matrix)))
        slots = _Weight.apply(self._matrix, self._bias, self._size, shapes, self._steps)
        return iter(tuple(zip(slots[::2], slots[1::2], strict=True)))


def empty_slots(like: Tensor, shapes: Sequence[Sequence[int]], steps: int) -> tuple[Tensor, ...]:
    """Return a tensor of each shape for each step, without memory of its own: only its gradient is ever read."""
    nothing = like.new_zeros(())
    return tuple(nothing.expand(*shape) for _ in range(steps) for shape in shapes)


def joined(factors: Sequence[Tensor | None]) -> Tensor:
    """Join the factors of the steps on the first axis; steps that had no part in this autograd call have None."""
    found = [factor for factor in factors if factor is not None]
    return found[0] if len(found) == 1 else torch.cat(found)


def _product(x: Tensor, matrix: Tensor, bias: Tensor | None, addend: Tensor | None, size: int) -> Tensor:
    rows = patches(x, size)
    if addend is None:
        return rows @ matrix.t() if bias is None else torch.addmm(bias, rows, matrix.t())
    return torch.addmm(addend if bias is None else addend + bias, rows, matrix.t())


class _Weight(torch.autograd.Function):
    """Gives the steps their slots; its backward pass comes after all of theirs, and multiplies their factors."""

    @staticmethod
    def forward(
        ctx: Any, matrix: Tensor, _bias: Tensor | None, size: int, shapes: Sequence[Sequence[int]], steps: int
    ) -> tuple[Tensor, ...]:
        ctx.size = size
        ctx.set_materialize_grads(False)
        return empty_slots(matrix, shapes, steps)

    @staticmethod
    def backward(ctx: Any, *factors: Tensor | None) -> tuple[Tensor | None, ...]:
        if all(factor is None for factor in factors):
            return None, None, None, None, None
        gradients = joined(factors[1::2])
        grad_matrix = None
        if ctx.needs_input_grad[0]:
            inputs = joined([None if x is None else x.flatten(0, -4 if ctx.size > 1 else -2) for x in factors[::2]])
            grad_matrix = gradients.t() @ patches(inputs, ctx.size)
        return grad_matrix, gradients.sum(0) if ctx.needs_input_grad[1] else None, None, None, None


class _Step(torch.autograd.Function):
    """One step's product; the gradients of its slots are the factors of the weight's."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        _input_slot: Tensor,
        _gradient_slot: Tensor,
        addend: Tensor | None,
        matrix: Tensor,
        bias: Tensor | None,
        size: int,
    ) -> Tensor:
        ctx.save_for_backward(x, matrix)  # no copy of either, so that second derivatives can be taken through them
        ctx.size = size
        rows = patches(x, size)
        if addend is None:
            return rows @ matrix.t() if bias is None else torch.addmm(bias, rows, matrix.t())
        out = torch.addmm(addend, rows, matrix.t())
        return out if bias is None else out.add_(bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, matrix = ctx.saved_tensors
        grad_x = fold(gradient @ matrix, x.shape, ctx.size) if ctx.needs_input_grad[0] else None
        # The weight has its gradient from the slots.
        return grad_x, x, gradient, gradient if ctx.needs_input_grad[3] else None, None, None, None
