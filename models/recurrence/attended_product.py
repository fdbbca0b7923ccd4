"""A convolution of maps whose positions are weighted by shares from the recurrence (VideoLSTM, eqs. 1 to 4, 9).

Attention weighs whole positions, so it goes through the convolution: a step multiplies every position by every tap of
the kernel, and sums these products with its shares. The backward pass of the shares then needs the products alone, not
the gradient of the attended map. What the gradient of the weight and of the maps needs of a step goes through slots, as
in ``models.recurrence.time_product``.

The products of all steps take much memory: 13.9 GB for VideoLSTM with batch 128 and T = 30 in float32. Where they fit,
they are kept for the backward pass; where they do not, each step's backward pass multiplies once more. The forward pass
is the same for both, so that what is found does not depend on how much memory is free.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from models.parts.transforms import own_gradients
from models.recurrence.free_memory import free_bytes
from models.recurrence.patches import fold, kernel_matrix, patches
from models.recurrence.time_product import TimeProduct, empty_slots, joined, product_dtype

KEPT_SHARE = 0.5
"""Of the free memory, what kept products may take. Ours: the rest of a network takes less than they do."""
BLOCK_ROWS = 512
"""Steps are multiplied together until they have so many positions: a product of few rows is slow. Ours."""


class AttendedProduct:
    """Convolution of ``shares * x`` for the steps of one forward pass, each called once and in order.

    Args:
        weight: kernel ``(O, C, size, size)``.
        x: maps of all steps, ``(T, N, H, W, C)``.
        budget: bytes that products kept for the backward pass may take; None for half of what the device has free when
            the forward pass begins.
    """

    def __init__(self, weight: Tensor, x: Tensor, *, budget: int | None = None) -> None:
        self.size = weight.shape[-1]
        dtype = product_dtype(x)
        self._x = x.to(dtype)
        self._plain = None if own_gradients() else TimeProduct(weight, steps=len(x))
        if self._plain is not None:
            return
        weight = weight.to(dtype)
        self._taps = weight.permute(2, 3, 0, 1).flatten(0, 2)  # (size size O, C)
        self._out = len(weight)
        self._block_steps = -(-BLOCK_ROWS // x[0, ..., 0].numel())
        self._block = x.new_empty(0)
        products = x[..., 0].numel() * len(self._taps) * dtype.itemsize
        self._keep = torch.is_grad_enabled() and products <= (_budget(x.device) if budget is None else budget)
        self._reach = _reach(x.shape[2], x.shape[3], self.size, self._x)
        positions = x.shape[2] * x.shape[3]
        shapes = ((x.shape[1], positions), (x.shape[1], positions, self._out))
        # Without a gradient to give, the slots need none either.
        self._slots = _AllSteps.apply(kernel_matrix(weight), self._x, self.size, shapes)

    def __call__(self, step: int, shares: Tensor) -> Tensor:
        """Return the convolution ``(N, H, W, O)`` of a step's maps, weighted by ``shares (N, H, W)``."""
        shares = shares.to(self._x.dtype)
        if self._plain is not None:
            plain: Tensor = self._plain(self._x[step] * shares[..., None])
            return plain
        slots = self._slots[2 * step : 2 * step + 2]
        again = (None, None) if self._keep else (self._x[step], self._taps)
        out: Tensor = _Attend.apply(shares.flatten(1), *slots, self._products_of(step), self._reach, *again)
        return out.view(*shares.shape, -1)

    def _products_of(self, step: int) -> Tensor:
        """Return the products of a step, ``(N, P size size, O)``; the first step of a block takes those of all."""
        number = step % self._block_steps
        if number == 0:
            self._block = _products(self._x[step : step + self._block_steps], self._taps, self._out)
        return self._block[number]


def _budget(device: torch.device) -> int:
    return int(KEPT_SHARE * free_bytes(device))


def _products(x: Tensor, taps: Tensor, out: int) -> Tensor:
    """Return the products of every position of ``x (..., H, W, C)`` with every tap, ``(..., P size size, O)``."""
    return (x.flatten(0, -2) @ taps.t()).view(*x.shape[:-3], -1, out)


def _reach(height: int, width: int, size: int, like: Tensor) -> Tensor:
    """Return where each output position finds its taps: ``(P, P, size size)``, 1 where tap k of p lies at q."""
    positions = torch.eye(height * width, device=like.device, dtype=like.dtype).view(-1, height, width, 1)
    # patches of the unit maps: (q, p, tap)
    return patches(positions, size).view(height * width, height * width, -1).transpose(0, 1).contiguous()


class _AllSteps(torch.autograd.Function):
    """Gives the steps their slots; its backward pass takes the gradients of the weight and of the maps."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, x: Tensor, size: int, shapes: Sequence[Sequence[int]]) -> tuple[Tensor, ...]:
        ctx.save_for_backward(matrix, x)
        ctx.size = size
        ctx.set_materialize_grads(False)
        return empty_slots(matrix, shapes, len(x))

    @staticmethod
    def backward(ctx: Any, *factors: Tensor | None) -> tuple[Tensor | None, Tensor | None, None, None]:
        matrix, x = ctx.saved_tensors
        steps = [step for step, shares in enumerate(factors[::2]) if shares is not None]
        if not steps:
            return None, None, None, None
        maps = x if len(steps) == len(x) else x[steps]
        weights = joined(factors[::2]).view(*maps.shape[:-1], 1)
        gradients = joined(factors[1::2]).reshape(-1, len(matrix))  # (steps N P, O)
        grad_matrix = grad_x = None
        if ctx.needs_input_grad[0]:
            grad_matrix = gradients.t() @ patches(maps * weights, ctx.size)
        if ctx.needs_input_grad[1]:
            found = dict(zip(steps, (fold(gradients @ matrix, maps.shape, ctx.size) * weights).unbind(0), strict=True))
            grad_x = torch.stack([found.get(step, torch.zeros_like(x[0])) for step in range(len(x))])
        return grad_matrix, grad_x, None, None


class _Attend(torch.autograd.Function):
    """One step's sum; the gradients of its slots are the factors of the weight's and the maps'."""

    @staticmethod
    def forward(
        ctx: Any,
        shares: Tensor,
        _shares_slot: Tensor,
        _gradient_slot: Tensor,
        products: Tensor,
        reach: Tensor,
        x: Tensor | None,
        taps: Tensor | None,
    ) -> Tensor:
        """Sum the products; the backward pass multiplies ``x`` and ``taps`` once more where they are given."""
        ctx.save_for_backward(shares, reach, x, taps, products if x is None else None)
        weights = (shares[:, None, :, None] * reach).flatten(2)  # (N, P, P size size)
        return weights @ products

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        shares, reach, x, taps, kept = ctx.saved_tensors
        products = _products(x, taps, gradient.shape[-1]) if kept is None else kept
        taken = (gradient @ products.transpose(1, 2)).view(len(shares), *reach.shape)
        # Weight and maps have their gradients from the slots, not from their products.
        return (taken * reach).sum((1, 3)), shares, gradient, None, None, None, None
