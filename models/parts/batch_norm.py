"""Batch normalisation of feature sequences as Torch's ``Sequencer`` applies it: once for each time step."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.parts.masking import at_least_float32, without_padding


class StepBatchNorm(nn.Module):
    """Batch norm of ``(N, S, T, D)`` sequences, with statistics over the batch at one time step (TS-LSTM's code).

    Each of the S groups has its own scale, shift and running statistics, or all share one set. In training a step is
    normalised by the mean and variance over the N samples at that step, and the steps update the running statistics one
    after another, in order. Here all steps are one kernel call, and one update has the result of all.

    Args:
        feature_dim: D.
        groups: number of parameter sets, S or 1 (shared).
        momentum: share of a new step in the running statistics.
        eps: added to the variance.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, feature_dim: int, groups: int = 1, *, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        self.groups, self.momentum, self.eps = groups, momentum, eps
        self.weight = nn.Parameter(torch.ones(groups, feature_dim))
        self.bias = nn.Parameter(torch.zeros(groups, feature_dim))
        self.register_buffer("running_mean", torch.zeros(groups, feature_dim))
        self.register_buffer("running_var", torch.ones(groups, feature_dim))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Normalise.

        Args:
            x: ``(N, S, T, D)``.
            mask: ``(N, S, T)`` bool, True where a step counts for the statistics; other steps count as zeros. A
                step at which fewer than two samples are valid is normalised by the running statistics and changes
                nothing.

        Returns:
            ``(N, S, T, D)``.

        Raises:
            ValueError: in training with a batch of one and no mask, which has no variance.
        """
        x = without_padding(x, mask)
        if not self.training:
            return self._affine(x, self.running_mean[:, None], self.running_var[:, None])
        if mask is None:
            return self._train_dense(x)
        return self._train_masked(x, mask)

    def _affine(self, x: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        """Scale and shift ``x (N, S, T, D)`` by statistics that broadcast to ``(S, T, D)``, in float32 or more."""
        scale = self.weight[:, None] * (var + self.eps).rsqrt()
        return torch.addcmul(self.bias[:, None], x.to(at_least_float32(x)) - mean, scale)

    def _train_dense(self, x: Tensor) -> Tensor:
        _, segments, steps, width = x.shape
        columns = segments * steps * width
        mean, var = (torch.zeros(columns, device=x.device, dtype=self.running_mean.dtype) for _ in range(2))
        weight, bias = (
            p[:, None].expand(-1, steps * segments // self.groups, -1).reshape(columns)
            for p in (self.weight, self.bias)
        )
        # With momentum 1 the running buffers receive the batch mean and the unbiased variance themselves.
        out = F.batch_norm(x.reshape(-1, columns), mean, var, weight, bias, training=True, momentum=1.0, eps=self.eps)
        self._update(mean.view(segments, steps, width), var.view(segments, steps, width))
        return out.view(x.shape)

    def _train_masked(self, x: Tensor, mask: Tensor) -> Tensor:
        x = x.to(at_least_float32(x))
        count = mask[..., None].sum(0).to(x.dtype)
        mean = x.sum(0) / count.clamp(min=1)
        var = without_padding((x - mean).square(), mask).sum(0) / count.clamp(min=1)
        enough = count > 1
        running_mean, running_var = self.running_mean[:, None], self.running_var[:, None]
        out = self._affine(x, torch.where(enough, mean, running_mean), torch.where(enough, var, running_var))
        unbiased = var.detach() * count / (count - 1).clamp(min=1)
        self._update(mean.detach(), unbiased, enough.expand_as(mean))
        return out

    @torch.no_grad()
    def _update(self, mean: Tensor, var: Tensor, enough: Tensor | None = None) -> None:
        """Update by the steps' statistics ``(S, T, D)``, one after another: a decaying sum with known weights."""
        mean, var = (v.reshape(self.groups, -1, v.shape[-1]).to(self.running_mean.dtype) for v in (mean, var))
        counted = torch.ones_like(mean) if enough is None else enough.reshape(mean.shape).to(mean.dtype)
        later = counted.flip(1).cumsum(1).flip(1) - counted
        weights = self.momentum * (1 - self.momentum) ** later * counted
        kept = (1 - self.momentum) ** counted.sum(1)
        self.running_mean.mul_(kept).add_((weights * mean).sum(1))
        self.running_var.mul_(kept).add_((weights * var).sum(1))
