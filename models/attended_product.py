"""A convolution of maps whose positions are weighted by shares that only the recurrence knows (002, eqs. 1 to 4, 9).

Attention weighs whole positions, so it goes through the convolution: the product of every position with every tap of
the kernel is taken once for all steps, and a step only sums them with its shares. That is the multiplication that each
step would do, done once; and no step's backward pass needs the gradient of its attended map.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from models.patches import fold, kernel_matrix, patches
from models.time_product import Tape, TimeProduct, product_dtype

KEPT_BYTES = 2**34
"""Past so many bytes of kept products, each step convolves its attended map instead. Ours: VideoLSTM with batch 128 and
T = 30 has 13.9 GB of them in float32."""


class AttendedProduct:
    """Convolution of ``shares * x`` for the steps of one forward pass.

    Args:
        weight: kernel ``(O, C, size, size)``.
        x: maps of all steps, ``(T, N, H, W, C)``.
    """

    def __init__(self, weight: Tensor, x: Tensor) -> None:
        self.size = weight.shape[-1]
        dtype = product_dtype(x)
        self._x = x.to(dtype)
        kept = x[..., 0].numel() * self.size**2 * weight.shape[0] * dtype.itemsize
        self._plain = None if kept <= KEPT_BYTES and not torch.compiler.is_compiling() else TimeProduct(weight)
        if self._plain is not None:
            return
        weight = weight.to(dtype)
        with torch.no_grad():
            taps = weight.permute(2, 3, 0, 1).flatten(0, 2)  # (size size O, C)
            products = self._x.flatten(0, -2) @ taps.t()
        # (T, N, P size size, O): of every position and tap
        self._products = products.view(*x.shape[:2], -1, weight.shape[0])
        self._reach = _reach(x.shape[2], x.shape[3], self.size, self._products)
        self._tape = SharesTape()
        self._token: Tensor | None = None
        if torch.is_grad_enabled() and (weight.requires_grad or self._x.requires_grad):
            self._token = _AllSteps.apply(kernel_matrix(weight), self._x, self._tape, self.size)

    def __call__(self, step: int, shares: Tensor) -> Tensor:
        """Return the convolution ``(N, H, W, O)`` of a step's maps, weighted by ``shares (N, H, W)``."""
        shares = shares.to(self._x.dtype)
        if self._plain is not None:
            plain: Tensor = self._plain(self._x[step] * shares[..., None])
            return plain
        flat = shares.flatten(1)
        if torch.is_grad_enabled():
            token = flat.new_zeros(()) if self._token is None else self._token
            out: Tensor = _Attend.apply(flat, token, self._products[step], self._reach, self._tape, step)
        else:
            out = _attend(flat, self._products[step], self._reach)
        return out.view(*shares.shape, -1)


class SharesTape(Tape):
    """The steps' shares, the gradients of their outputs, and which steps they are."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[int] = []


def _reach(height: int, width: int, size: int, like: Tensor) -> Tensor:
    """Return where each output position finds its taps: ``(P, P, size size)``, 1 where tap k of p lies at q."""
    positions = torch.eye(height * width, device=like.device, dtype=like.dtype).view(-1, height, width, 1)
    # patches of the unit maps: (q, p, tap)
    return patches(positions, size).view(height * width, height * width, -1).transpose(0, 1).contiguous()


def _attend(shares: Tensor, products: Tensor, reach: Tensor) -> Tensor:
    weights = (shares[:, None, :, None] * reach).flatten(2)  # (N, P, P size size)
    return weights @ products


class _AllSteps(torch.autograd.Function):
    """Gives a token that every step depends on; its backward pass takes the gradients of the weight and the maps."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, x: Tensor, tape: SharesTape, size: int) -> Tensor:
        ctx.save_for_backward(matrix, x)
        ctx.tape, ctx.size = tape, size
        return matrix.new_zeros(())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, _: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        matrix, x = ctx.saved_tensors
        steps, ctx.tape.steps = ctx.tape.steps, []
        shares, gradients = ctx.tape.take()
        maps = x[steps]
        weights = shares.view(*maps.shape[:-1], 1)
        grad_matrix = grad_x = None
        if ctx.needs_input_grad[0]:
            grad_matrix = gradients.t() @ patches(maps * weights, ctx.size)
        if ctx.needs_input_grad[1]:
            grad_x = torch.zeros_like(x)
            grad_x[steps] = fold(gradients @ matrix, maps.shape, ctx.size) * weights
        return grad_matrix, grad_x, None, None


class _Attend(torch.autograd.Function):
    """One step's sum; of the weight's gradient it leaves the factors."""

    @staticmethod
    def forward(
        ctx: Any, shares: Tensor, _token: Tensor, products: Tensor, reach: Tensor, tape: SharesTape, step: int
    ) -> Tensor:
        ctx.save_for_backward(shares, products, reach)
        ctx.tape, ctx.step = tape, step
        return _attend(shares, products, reach)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None, None, None]:
        shares, products, reach = ctx.saved_tensors
        ctx.tape.steps.append(ctx.step)
        ctx.tape.inputs.append(shares)
        ctx.tape.gradients.append(gradient.reshape(-1, gradient.shape[-1]))
        taken = (gradient @ products.transpose(1, 2)).view(len(shares), *reach.shape)
        return (taken * reach).sum((1, 3)), gradient.new_zeros(()), None, None, None, None
