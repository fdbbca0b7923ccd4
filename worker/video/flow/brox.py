"""Optical flow of Brox et al. 2004 ("High Accuracy Optical Flow Estimation Based on a Theory for Warping"), batched.

Brightness and gradient constancy under one robust penaliser, a robust total variation of the field as smoothness,
coarse-to-fine warping. Two nested fixed points (eqs. 12 to 14) leave a linear system in the increment of the field,
solved by red-black successive over-relaxation. Numbers and the smoothing of the pyramid are those of Sanchez et al.,
"Robust Optical Flow Estimation" (IPOL 2013); their sweeps run to a tolerance, ours are counted, so that a pair's result
does not depend on its batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from worker.video.flow.images import centred_gradient, forward_gradient, resize, warp

SMALLEST_SIDE = 16
PENALTY_EPSILON = 1e-3  # sec. 2.2


class Data(NamedTuple):
    """Linearised brightness and gradient differences at one warp, each float32 (N, 3, H, W): of I, d/dx I, d/dy I.

    Attributes:
        x: derivative of the warped second frame in x; 0 where the field leads out of the image, as the others.
        y: in y.
        z: second frame, warped, less the first.
        weight: of each constancy: 1, gamma, gamma.
    """

    x: Tensor
    y: Tensor
    z: Tensor
    weight: Tensor


class Edges(NamedTuple):
    """Diffusivity between neighbours: along x (N, H, W - 1), along y (N, H - 1, W), and its sum at a pixel."""

    x: Tensor
    y: Tensor
    total: Tensor


@dataclass(frozen=True)
class Brox:
    """Computes flow by Brox et al. 2004.

    Attributes:
        alpha: weight of smoothness, for grey values from 0 to 255.
        gamma: weight of gradient constancy.
        step: size of a scale relative to the one above it.
        warps: per scale (outer fixed point).
        inner: updates of the robust weights per warp (inner fixed point).
        sweeps: of the linear solver per inner update.
        relaxation: of the solver, below 2.
        smoothing: standard deviation of the Gaussian over the input, in pixels.
    """

    alpha: float = 18.0
    gamma: float = 7.0
    step: float = 0.75
    warps: int = 10
    inner: int = 1
    sweeps: int = 10
    relaxation: float = 1.9
    smoothing: float = 0.8

    def __call__(self, first: Tensor, second: Tensor) -> Tensor:
        """Return float32 (N, 2, H, W), pixels per frame, x then y, of two batches of frames.

        Args:
            first: grey frames (N, H, W), 0 to 255, uint8 or float32, each side at least 3.
            second: the frames that follow them, of the same shape.
        """
        before, after = self._pyramid(first), self._pyramid(second)
        flow = torch.zeros_like(before[-1]).unsqueeze(1).repeat(1, 2, 1, 1)
        for one, two in zip(reversed(before), reversed(after), strict=True):
            if flow.shape[-2:] != one.shape[-2:]:
                ratio = torch.tensor([one.shape[-1] / flow.shape[-1], one.shape[-2] / flow.shape[-2]])
                flow = resize(flow, (one.shape[-2], one.shape[-1])) * ratio.to(flow.device)[:, None, None]
            flow = self._one_scale(one, two, flow)
        return flow

    def _pyramid(self, frames: Tensor) -> list[Tensor]:
        levels = [gaussian(frames.float(), self.smoothing)]
        while min(levels[-1].shape[-2:]) * self.step >= SMALLEST_SIDE:
            height, width = (round(side * self.step) for side in levels[-1].shape[-2:])
            smooth = gaussian(levels[-1], 0.6 * (self.step**-2 - 1.0) ** 0.5)
            levels.append(resize(smooth, (height, width)))
        return levels

    def _one_scale(self, first: Tensor, second: Tensor, flow: Tensor) -> Tensor:
        before = _with_gradient(first)
        after = _with_gradient(second)
        slopes = torch.cat([after, *centred_gradient(after)], dim=1)  # (N, 9, H, W)
        weight = torch.tensor([1.0, self.gamma, self.gamma], device=first.device)[:, None, None]
        for _ in range(self.warps):
            warped, x, y = warp(slopes, flow).mul_(_inside(flow)).chunk(3, dim=1)
            flow = flow + self._increment(Data(x, y, (warped - before) * _inside(flow), weight), flow)
        return flow

    def _increment(self, data: Data, flow: Tensor) -> Tensor:
        """Solve for the increment of the field, (N, 2, H, W)."""
        change = torch.zeros_like(flow)
        for _ in range(self.inner):
            rest = data.z + data.x * change[:, :1] + data.y * change[:, 1:]
            robust = data.weight * _penalty_slope((data.weight * rest.square()).sum(1, keepdim=True))
            xx, xy, yy, xz, yz = (
                (robust * a * b).sum(1)
                for a, b in (
                    (data.x, data.x),
                    (data.x, data.y),
                    (data.y, data.y),
                    (data.x, data.z),
                    (data.y, data.z),
                )
            )
            edges = self._diffusivity(flow + change)
            diagonal = torch.stack([xx, yy], dim=1) + edges.total[:, None]
            force = _neighbours(edges, flow) - edges.total[:, None] * flow - torch.stack([xz, yz], dim=1)
            for _ in range(self.sweeps):
                self._sweep(change, force, diagonal.clamp(min=1e-9), xy, edges)
        return change

    def _diffusivity(self, flow: Tensor) -> Edges:
        x, y = forward_gradient(flow)
        slope = self.alpha * _penalty_slope((x.square() + y.square()).sum(1))
        along_x, along_y = (slope[..., 1:] + slope[..., :-1]) / 2, (slope[..., 1:, :] + slope[..., :-1, :]) / 2
        total = _neighbours(Edges(along_x, along_y, slope), torch.ones_like(slope)[:, None])[:, 0]
        return Edges(along_x, along_y, total)

    def _sweep(self, change: Tensor, force: Tensor, diagonal: Tensor, xy: Tensor, edges: Edges) -> None:
        """Relax the red pixels in place, x then y, then the black ones."""
        height, width = change.shape[-2:]
        diagonals = torch.arange(height, device=change.device)[:, None] + torch.arange(width, device=change.device)
        for colour in (0, 1):
            chosen = diagonals % 2 == colour
            pull = force + _neighbours(edges, change)
            for own, other in ((0, 1), (1, 0)):
                solved = (pull[:, own] - xy * change[:, other]) / diagonal[:, own]
                relaxed = torch.lerp(change[:, own], solved, self.relaxation)
                change[:, own] = torch.where(chosen, relaxed, change[:, own])


def _with_gradient(image: Tensor) -> Tensor:
    return torch.stack([image, *centred_gradient(image)], dim=1)


def _inside(flow: Tensor) -> Tensor:
    """Return 1 where the field leads to a point within the image, else 0: (N, 1, H, W)."""
    height, width = flow.shape[-2:]
    x = flow[:, :1] + torch.arange(width, device=flow.device)
    y = flow[:, 1:] + torch.arange(height, device=flow.device)[:, None]
    return ((x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)).to(flow.dtype)


def _penalty_slope(square: Tensor) -> Tensor:
    """Return the derivative of the penaliser sqrt(s^2 + epsilon^2) by s^2, times 2 (sec. 2.2)."""
    return torch.rsqrt(square + PENALTY_EPSILON**2)


def _neighbours(edges: Edges, field: Tensor) -> Tensor:
    """Return the sum over a pixel's four neighbours of diffusivity times field: (N, C, H, W)."""
    x, y = edges.x[:, None], edges.y[:, None]
    out = torch.zeros_like(field)
    out[..., :-1] += x * field[..., 1:]
    out[..., 1:] += x * field[..., :-1]
    out[..., :-1, :] += y * field[..., 1:, :]
    out[..., 1:, :] += y * field[..., :-1, :]
    return out


def gaussian(images: Tensor, deviation: float) -> Tensor:
    """Smooth (N, H, W) by a Gaussian of a standard deviation in pixels, cut at three of them; borders repeat."""
    reach = max(1, round(3 * deviation))
    offsets = torch.arange(-reach, reach + 1, device=images.device, dtype=images.dtype)
    kernel = torch.exp(-0.5 * (offsets / deviation) ** 2)
    kernel = kernel / kernel.sum()
    wide = functional.pad(images[:, None], (reach, reach, reach, reach), mode="replicate")
    return functional.conv2d(functional.conv2d(wide, kernel[None, None, None]), kernel[None, None, :, None])[:, 0]
