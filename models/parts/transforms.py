"""What may run a network besides plain autograd: ``torch.func``, forward-mode differentiation, a compiler."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad


def transformed() -> bool:
    """Return whether a transform of ``torch.func`` (vmap, grad, jvp) or forward-mode differentiation is active.

    They follow plain operations only, not fused ones or backward passes of our own. Networks then do without those, and
    give the same numbers more slowly.
    """
    if torch.compiler.is_compiling():
        return False
    return bool(torch._C._are_functorch_transforms_active()) or forward_ad._current_level >= 0


def own_gradients() -> bool:
    """Return whether backward passes of our own may replace autograd's; a compiler makes its own."""
    return not (torch.compiler.is_compiling() or transformed())


def in_a_batch(gradient: Tensor) -> bool:
    """Return whether autograd runs a backward pass for many gradients at once (``is_grads_batched=True``)."""
    return bool(torch._C._functorch.is_legacy_batchedtensor(gradient))


def first_order(x: Tensor, message: str) -> Tensor:
    """Return ``x`` for an operation without second derivatives; one that is taken through it raises ``message``.

    Raises:
        RuntimeError: in the backward pass of a backward pass, in place of PyTorch's own error, which names a kernel.
    """
    if torch.compiler.is_compiling() or not (torch.is_grad_enabled() and x.requires_grad):
        return x
    out: Tensor = _FirstOrder.apply(x, message)
    return out


class _FirstOrder(torch.autograd.Function):
    """The identity; so is its backward pass, which refuses one of its own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, message: str) -> Tensor:
        ctx.message = message
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return (_Refuse.apply(gradient, ctx.message) if torch.is_grad_enabled() else gradient), None


class _Refuse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gradient: Tensor, message: str) -> Tensor:
        ctx.message = message
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx: Any, _: Tensor) -> tuple[Tensor, None]:
        raise RuntimeError(ctx.message)
