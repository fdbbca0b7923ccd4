"""Optimisers, learning rates and gradient clipping of a spec."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

# The first torch.optim optimiser imports torch._dynamo, which takes seconds: here the fork server does it once for all.
import torch._dynamo
from torch import Tensor, nn

from services.specs import OptimizerSpec

MOMENTUM = 0.9  # of sgd
DECAY = 0.9  # of rmsprop's mean square
RMSPROP_EPSILON = 1e-3  # VideoLSTM's code has 1e-6 inside the root (its `rmsprop.py`), PyTorch adds it outside


def build_optimizer(parameters: Iterable[nn.Parameter], spec: OptimizerSpec) -> torch.optim.Optimizer:
    """Build the optimiser of a spec; weight decay is L2 in the gradient for all three."""
    rate, decay = spec.learning_rate, spec.weight_decay
    if spec.name == "sgd":
        return torch.optim.SGD(parameters, lr=rate, momentum=MOMENTUM, weight_decay=decay)
    if spec.name == "rmsprop":
        return torch.optim.RMSprop(parameters, lr=rate, alpha=DECAY, eps=RMSPROP_EPSILON, weight_decay=decay)
    return torch.optim.Adam(parameters, lr=rate, weight_decay=decay)


def learning_rate(spec: OptimizerSpec, milestones: Sequence[int], epoch: int) -> float:
    """Return the rate of an epoch, counted from 1: divided by 10 after each milestone."""
    return float(spec.learning_rate / 10 ** sum(epoch > milestone for milestone in milestones))


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every parameter group one learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def clip_gradients(parameters: Sequence[Tensor], spec: OptimizerSpec) -> None:
    """Bound gradients in place: each element by ``clip_value`` first, then their joint norm by ``clip_norm``."""
    if spec.clip_value is not None:
        nn.utils.clip_grad_value_(parameters, spec.clip_value)
    if spec.clip_norm is not None:
        nn.utils.clip_grad_norm_(parameters, spec.clip_norm)
