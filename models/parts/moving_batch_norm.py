"""Batch norm that normalises by its moving statistics in training too (Relational LSTM, section 5.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.parts.masking import without_padding

MOMENTUM = 0.001  # Relational LSTM's "very small momentum (e.g. 0.001, 0.0005)"


class MovingBatchNorm2d(nn.BatchNorm2d):
    """Batch norm whose moving mean and variance normalise in training as in the test, and follow the batches slowly.

    ``nn.BatchNorm2d`` with the same momentum differs: in training it normalises by the batch. Here the statistics of a
    batch do not change its own output, and the gradient does not pass through statistics. They are updated after the
    batch, new = (1 - momentum) old + momentum batch, with the unbiased variance, as PyTorch's are. Names in the state
    dict are those of ``nn.BatchNorm2d``.

    Args:
        num_features: C.
        eps: added to the variance.
        momentum: share of a batch in the moving statistics; 0.001 or 0.0005 in Relational LSTM.
        activation: applied to the result; for networks that hold it inside their batch norm, as timm's do.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(
        self,
        num_features: int,
        *,
        eps: float = 1e-5,
        momentum: float = MOMENTUM,
        activation: nn.Module | None = None,
    ) -> None:
        super().__init__(num_features, eps, momentum)
        self.step_share = momentum
        self.activation = nn.Identity() if activation is None else activation

    def forward(self, input: Tensor, mask: Tensor | None = None) -> Tensor:  # noqa: A002 - the library's name
        """Normalise ``input (N, C, H, W)``.

        ``mask (N,)`` is True where a sample counts for the statistics; other samples count as zeros.
        """
        input = without_padding(input, mask)  # noqa: A001 - the library's name
        # The backward pass reads these statistics, and the update below writes them in place.
        mean, var = self.running_mean.clone(), self.running_var.clone()
        out = F.batch_norm(input, mean, var, self.weight, self.bias, training=False, eps=self.eps)
        if self.training:
            self._update(input.detach(), mask)
        activated: Tensor = self.activation(out)
        return activated

    def mean_and_scale(self, input: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:  # noqa: A002
        """Return what ``forward`` takes from each channel and multiplies it by before it adds ``bias``, both ``(C,)``.

        In training the moving statistics are updated as by ``forward``. A layer that multiplies next can take scale and
        bias into its own weight and bias. They do not depend on the batch, so that the gradient of this norm then costs
        no product; through its output it would cost one of the layer's size.
        """
        mean = self.running_mean.clone()  # the update writes in place
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        if self.training:
            self._update(input.detach(), mask)
        return mean, scale

    @torch.no_grad()
    def _update(self, x: Tensor, mask: Tensor | None) -> None:
        """Update the moving statistics by the batch; one value a channel has no variance and changes only the mean."""
        x = x.to(self.running_mean.dtype)
        positions = x.shape[2] * x.shape[3]
        if mask is None:
            count = torch.full((), len(x) * positions, dtype=x.dtype, device=x.device)
            mean = x.mean((0, 2, 3))
            squares = (x - mean[:, None, None]).square().sum((0, 2, 3))
        else:
            count = mask.sum().to(x.dtype) * positions
            mean = without_padding(x, mask).sum((0, 2, 3)) / count
            squares = without_padding((x - mean[:, None, None]).square(), mask).sum((0, 2, 3))
        var = torch.where(count > 1, squares / (count - 1).clamp(min=1), self.running_var)
        self.running_mean.lerp_(mean, self.step_share)
        self.running_var.lerp_(var, self.step_share)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)


def with_moving_statistics(module: nn.Module, momentum: float = MOMENTUM) -> nn.Module:
    """Replace every 2d batch norm in a network by one that normalises by its moving statistics; return the network.

    Weights and statistics are kept, and so are the names in the state dict. Batch norms of timm, which hold dropout and
    activation inside, keep them.
    """
    if isinstance(module, nn.BatchNorm2d):
        return module if isinstance(module, MovingBatchNorm2d) else _converted(module, momentum)
    for name, child in module.named_children():
        module.add_module(name, with_moving_statistics(child, momentum))
    return module


def _converted(norm: nn.BatchNorm2d, momentum: float) -> MovingBatchNorm2d:
    inside = [part for part in (getattr(norm, "drop", None), getattr(norm, "act", None)) if part is not None]
    moving = MovingBatchNorm2d(
        norm.num_features, eps=norm.eps, momentum=momentum, activation=nn.Sequential(*inside) if inside else None
    )
    moving.weight, moving.bias = norm.weight, norm.bias
    assert norm.running_mean is not None
    assert norm.running_var is not None
    moving.running_mean, moving.running_var = norm.running_mean, norm.running_var
    moving.num_batches_tracked = norm.num_batches_tracked
    return moving.train(norm.training)
