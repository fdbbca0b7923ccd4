"""TV-L1 optical flow (Zach et al. 2007) of many frame pairs at once, step by step as OpenCV 5.0 computes it.

OpenCV's order is kept: a pyramid by linear resizing, per scale a number of warps, per warp outer iterations that begin
with a median filter, and inner iterations of thresholding, primal and dual step that end, for each pair by itself, when
the field has moved by less than epsilon. A pair's result does not depend on its neighbours in the batch. On a GPU with
Triton the inner steps are fused kernels (`worker.video.flow.tvl1_kernels`); elsewhere plain torch runs the same steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from worker.video.flow.images import centred_gradient, divergence, forward_gradient, median5, resize, warp

try:
    from worker.video.flow import tvl1_kernels
except ImportError:  # no Triton on this platform
    tvl1_kernels = None  # type: ignore[assignment]

SMALLEST_SIDE = 16  # a scale with a shorter side is left out, as in OpenCV
FLOAT32_EPSILON = torch.finfo(torch.float32).eps


class Terms(NamedTuple):
    """The data term linearised at one warp, each float32 (N, H, W).

    Attributes:
        x: d/dx of the second frame, warped.
        y: d/dy of it.
        rho: second frame, warped, less its linear part, less the first frame.
    """

    x: Tensor
    y: Tensor
    rho: Tensor

    def of(self, pairs: Tensor) -> Terms:
        """Return the terms of some pairs."""
        return Terms(*(term[pairs] for term in self))


@dataclass(frozen=True)
class TVL1:
    """Computes flow by TV-L1 with OpenCV's defaults (TS-LSTM's code).

    Attributes:
        tau: time step of the dual variable.
        weight: lambda, of the data term against smoothness.
        theta: how tightly data and smoothness are coupled.
        scales: of the pyramid, at most.
        warps: per scale.
        epsilon: root mean square change in pixels below which a pair is done with its warp.
        inner: iterations between two median filters, at most.
        outer: median filters per warp, at most.
        step: size of a scale relative to the one above it.
        fused: use the Triton kernels; by default where they can run.
    """

    tau: float = 0.25
    weight: float = 0.15
    theta: float = 0.3
    scales: int = 5
    warps: int = 5
    epsilon: float = 0.01
    inner: int = 30
    outer: int = 10
    step: float = 0.8
    fused: bool | None = None

    def __call__(self, first: Tensor, second: Tensor) -> Tensor:
        """Return float32 (N, 2, H, W), pixels per frame, x then y, of two batches of frames.

        Args:
            first: grey frames (N, H, W), 0 to 255, uint8 or float32, each side at least 3.
            second: the frames that follow them, of the same shape.
        """
        before, after = self._pyramid(first.float()), self._pyramid(second.float())
        flow = torch.zeros_like(before[-1]).unsqueeze(1).repeat(1, 2, 1, 1)
        for level in range(len(before) - 1, -1, -1):
            if flow.shape[-2:] != before[level].shape[-2:]:
                height, width = before[level].shape[-2:]
                flow = resize(flow, (height, width)) * (1.0 / self.step)
            flow = self._one_scale(before[level], after[level], flow)
        return flow

    def _pyramid(self, frames: Tensor) -> list[Tensor]:
        levels = [frames]
        while len(levels) < self.scales:
            size = round(levels[-1].shape[-2] * self.step), round(levels[-1].shape[-1] * self.step)
            if min(size) < SMALLEST_SIDE:
                break
            levels.append(resize(levels[-1], size, 1.0 / self.step))
        return levels

    def _one_scale(self, first: Tensor, second: Tensor, flow: Tensor) -> Tensor:
        fused = (tvl1_kernels is not None and first.is_cuda) if self.fused is None else self.fused
        images = torch.stack([second, *centred_gradient(second)], dim=1)  # (N, 3, H, W)
        dual = torch.zeros(len(first), 4, *first.shape[1:], device=first.device)  # of x: d/dx, d/dy; of y: d/dx, d/dy
        for _ in range(self.warps):
            if fused:
                flow, dual = tvl1_kernels.solve(self._numbers(flow), first, images, flow, dual)
            else:
                flow, dual = self._solve(self._linearise(first, images, flow), flow, dual)
        return flow

    @staticmethod
    def _linearise(first: Tensor, images: Tensor, flow: Tensor) -> Terms:
        warped, x, y = warp(images, flow).unbind(1)
        return Terms(x.contiguous(), y.contiguous(), warped - x * flow[:, 0] - y * flow[:, 1] - first)

    def _solve(self, terms: Terms, flow: Tensor, dual: Tensor) -> tuple[Tensor, Tensor]:
        """Iterate one warp; pairs that are done leave the batch."""
        limit = self.limit(flow)
        active = torch.arange(len(flow), device=flow.device)
        flow, dual = flow.clone(), dual.clone()
        for _ in range(self.outer):
            some_flow, some_dual, some_terms = median5(flow[active]), dual[active], terms.of(active)
            for _ in range(self.inner):
                some_flow, error = self._primal_step(some_terms, some_flow, some_dual)
                some_dual = self._dual_step(some_flow, some_dual)
                moving = error > limit
                if not bool(moving.all()):
                    flow[active], dual[active] = some_flow, some_dual
                    active, some_terms = active[moving], some_terms.of(moving)
                    some_flow, some_dual = some_flow[moving], some_dual[moving]
                if len(active) == 0:
                    return flow, dual
            flow[active], dual[active] = some_flow, some_dual
        return flow, dual

    def _numbers(self, flow: Tensor) -> tvl1_kernels.Numbers:
        return tvl1_kernels.Numbers(
            self.weight * self.theta, self.theta, self.tau / self.theta, self.limit(flow), self.inner, self.outer
        )

    def limit(self, flow: Tensor) -> float:
        """Return the sum of squared changes, over a field, at which a pair is done."""
        return self.epsilon * self.epsilon * flow.shape[-2] * flow.shape[-1]

    def _primal_step(self, terms: Terms, flow: Tensor, dual: Tensor) -> tuple[Tensor, Tensor]:
        """Return the next flow (N, 2, H, W), and the sum of squared changes of each pair (N,)."""
        square = terms.x * terms.x + terms.y * terms.y
        rho = terms.rho + (terms.x * flow[:, 0] + terms.y * flow[:, 1])
        reach = self.weight * self.theta
        along = torch.where(square > FLOAT32_EPSILON, -rho / square.clamp(min=FLOAT32_EPSILON), 0.0)
        along = torch.where(rho < -reach * square, reach, torch.where(rho > reach * square, -reach, along))
        smooth = torch.stack([divergence(dual[:, 0], dual[:, 1]), divergence(dual[:, 2], dual[:, 3])], dim=1)
        change = along[:, None] * torch.stack([terms.x, terms.y], dim=1) + self.theta * smooth
        return flow + change, change.square().sum(dim=(1, 2, 3))

    def _dual_step(self, flow: Tensor, dual: Tensor) -> Tensor:
        rate = self.tau / self.theta
        x, y = forward_gradient(flow)
        gradient = torch.stack([x, y], dim=2)  # (N, 2, 2, H, W)
        norm = 1.0 + rate * torch.hypot(x, y)
        return ((dual.view_as(gradient) + rate * gradient) / norm[:, :, None]).view_as(dual)
