"""Optimisers and gradient clipping of a spec."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch

# The first torch.optim optimiser imports torch._dynamo, which takes seconds: here the fork server does it once for all.
import torch._dynamo
from torch import Tensor, nn

from services.specs import OptimizerSpec

MOMENTUM = 0.9  # of sgd
RMSPROP_EPSILON = 1e-3
SCALE = "rate_scale"
"""Of a parameter group: by what the learning rate is multiplied for it."""


def build_optimizer(parameters: Iterable[Any], spec: OptimizerSpec) -> torch.optim.Optimizer:
    """Build the optimiser of a spec; weight decay is L2 in the gradient for all.

    Args:
        parameters: or groups of them, as of `torch.optim`.
        spec: what to build.
    """
    rate, decay = spec.learning_rate, spec.weight_decay
    if spec.name == "sgd":
        return torch.optim.SGD(parameters, lr=rate, momentum=MOMENTUM, weight_decay=decay)
    if spec.name == "adam":
        return torch.optim.Adam(parameters, lr=rate, weight_decay=decay)
    epsilon = RMSPROP_EPSILON if spec.epsilon is None else spec.epsilon
    kind = RootRMSprop if spec.epsilon_inside_root else torch.optim.RMSprop
    return kind(parameters, lr=rate, alpha=spec.decay, eps=epsilon, weight_decay=decay)


class RootRMSprop(torch.optim.Optimizer):
    """RMSProp with epsilon inside the root: ``w -= lr g / sqrt(mean(g^2) + eps)`` (VideoLSTM's code).

    PyTorch's has ``sqrt(mean(g^2)) + eps``.

    Args:
        parameters: or groups of them.
        lr: learning rate.
        alpha: decay of the running mean.
        eps: added to it.
        weight_decay: L2 in the gradient.
    """

    def __init__(self, parameters: Iterable[Any], *, lr: float, alpha: float, eps: float, weight_decay: float) -> None:
        super().__init__(parameters, {"lr": lr, "alpha": alpha, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every weight that has a gradient."""
        assert closure is None
        for group in self.param_groups:
            trained = [weight for weight in group["params"] if weight.grad is not None]
            if trained:
                self._update(trained, group)

    def _update(self, weights: list[Tensor], group: dict[str, Any]) -> None:
        for weight in weights:
            if "square_avg" not in self.state[weight]:
                self.state[weight]["square_avg"] = torch.zeros_like(weight)
        means = [self.state[weight]["square_avg"] for weight in weights]
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        if group["weight_decay"]:
            gradients = list(torch._foreach_add(gradients, weights, alpha=group["weight_decay"]))
        torch._foreach_mul_(means, group["alpha"])
        torch._foreach_addcmul_(means, gradients, gradients, 1 - group["alpha"])
        roots = torch._foreach_add(means, group["eps"])
        torch._foreach_sqrt_(roots)
        torch._foreach_addcdiv_(weights, gradients, roots, -group["lr"])


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every parameter group the learning rate, times its own scale where it has one."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get(SCALE, 1)


def clip_gradients(parameters: Sequence[Tensor], spec: OptimizerSpec) -> None:
    """Bound gradients in place: each element by ``clip_value`` first, then their joint norm by ``clip_norm``."""
    if spec.clip_value is not None:
        nn.utils.clip_grad_value_(parameters, spec.clip_value)
    if spec.clip_norm is not None:
        nn.utils.clip_grad_norm_(parameters, spec.clip_norm)
