"""A convolution of maps whose positions are weighted by shares from the recurrence (VideoLSTM, eqs. 1 to 4, 9).

Attention weighs whole positions, so it goes through the convolution: the product of every position with every tap of
the kernel is taken once for all steps, and a step only sums them with its shares. That is the multiplication that each
step would do, done once; and no step's backward pass needs the gradient of its attended map. What the gradient of the
weight and of the maps needs of a step goes through slots, as in ``models.recurrence.time_product``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from models.parts.transforms import own_gradients
from models.recurrence.patches import fold, kernel_matrix, patches
from models.recurrence.time_product import TimeProduct, empty_slots, joined, product_dtype

KEPT_BYTES = 2**34
"""Past so many bytes of kept products, each step convolves its attended map instead. Ours: VideoLSTM with batch 128 and
T = 30 has 13.9 GB of them in float32."""


class AttendedProduct:
    """Convolution of ``shares * x`` for the steps of one forward pass, each of which is called once.

    Args:
        weight: kernel ``(O, C, size, size)``.
        x: maps of all steps, ``(T, N, H, W, C)``.
    """

    def __init__(self, weight: Tensor, x: Tensor) -> None:
        self.size = weight.shape[-1]
        dtype = product_dtype(x)
        self._x = x.to(dtype)
        kept = x[..., 0].numel() * self.size**2 * weight.shape[0] * dtype.itemsize
        self._plain = None if kept <= KEPT_BYTES and own_gradients() else TimeProduct(weight, steps=len(x))
        if self._plain is not None:
            return
        weight = weight.to(dtype)
        taps = weight.permute(2, 3, 0, 1).flatten(0, 2)  # (size size O, C)
        products = self._x.flatten(0, -2) @ taps.t()
        # (T, N, P size size, O): of every position and tap
        self._products = products.view(*x.shape[:2], -1, weight.shape[0])
        self._reach = _reach(x.shape[2], x.shape[3], self.size, self._products)
        positions = x.shape[2] * x.shape[3]
        shapes = ((x.shape[1], positions), (x.shape[1], positions, weight.shape[0]))
        # Without a gradient to give, the slots need none either.
        self._slots = _AllSteps.apply(kernel_matrix(weight), self._x, self.size, shapes)

    def __call__(self, step: int, shares: Tensor) -> Tensor:
        """Return the convolution ``(N, H, W, O)`` of a step's maps, weighted by ``shares (N, H, W)``."""
        shares = shares.to(self._x.dtype)
        if self._plain is not None:
            plain: Tensor = self._plain(self._x[step] * shares[..., None])
            return plain
        slots = self._slots[2 * step : 2 * step + 2]
        out: Tensor = _Attend.apply(shares.flatten(1), *slots, self._products[step], self._reach)
        return out.view(*shares.shape, -1)


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
        ctx: Any, shares: Tensor, _shares_slot: Tensor, _gradient_slot: Tensor, products: Tensor, reach: Tensor
    ) -> Tensor:
        ctx.save_for_backward(shares, products, reach)
        weights = (shares[:, None, :, None] * reach).flatten(2)  # (N, P, P size size)
        return weights @ products

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        shares, products, reach = ctx.saved_tensors
        taken = (gradient @ products.transpose(1, 2)).view(len(shares), *reach.shape)
        # Weight and maps have their gradients from the slots, not from their products.
        return (taken * reach).sum((1, 3)), shares, gradient, None, None
