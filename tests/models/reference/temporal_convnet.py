"""Temporal-ConvNet: TS-LSTM, section 3.3 and the authors' model-Conv-Inception-v1, over one matrix of T x D."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tests.models.reference.elements import Weights, mean, normalised
from tests.models.reference.frames import linear, maximum

Map = list[list[Tensor]]
"""Vectors ``(D,)`` of a channel and a step: ``map[channel][step]``."""


@dataclass(frozen=True)
class Layout:
    """Which kernels, pools and reductions a network has, and how its parameters are numbered."""

    architecture: str
    kernels: tuple[tuple[int, ...], ...]
    pools: tuple[int, ...]
    reduction: tuple[int, ...] | str
    strided: bool = False
    reduce_each: bool = False
    batch_norm: bool = True


def _channel_norm(x: Map, weights: Weights, name: str) -> Map:
    parts = (weights[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
    average, variance, scale, shift = parts
    return [
        [(vector - average[c]) / torch.sqrt(variance[c] + 1e-5) * scale[c] + shift[c] for vector in steps]
        for c, steps in enumerate(x)
    ]


def _relu(x: Map) -> Map:
    return [[torch.where(vector > 0, vector, torch.zeros_like(vector)) for vector in steps] for steps in x]


def _convolve(x: Map, kernel: Tensor, bias: Tensor, stride: int = 1) -> Map:
    """Along time, zeros beyond the ends; with a stride, T // stride steps."""
    steps, size = len(x[0]), kernel.shape[2]
    out = []
    for o in range(len(kernel)):
        row = []
        for t in range(0, steps // stride * stride, stride):
            total = torch.zeros_like(x[0][0]) + bias[o]
            for c in range(len(x)):
                for k in range(size):
                    if 0 <= t + k - size // 2 < steps:
                        total = total + kernel[o, c, k, 0] * x[c][t + k - size // 2]
            row.append(total)
        out.append(row)
    return out


def _max_pool(x: Map, size: int) -> Map:
    return [[maximum(steps[t * size : (t + 1) * size]) for t in range(len(steps) // size)] for steps in x]


class TemporalConvNet:
    """Evaluates a network's weights on one video."""

    def __init__(self, weights: Weights, layout: Layout) -> None:
        self.weights, self.layout = weights, layout

    def __call__(self, video: Tensor) -> Tensor:
        """Return logits ``(K,)`` of ``video (T, D)``."""
        heads = []
        for number in range(1 if self.layout.architecture == "inception" else len(self.layout.kernels)):
            x = (
                self._inception([list(video)])
                if self.layout.architecture == "inception"
                else self._tower(video, number)
            )
            flat = torch.cat([vector for steps in x for vector in steps])
            heads.append(self._head(flat, f"heads.{number}"))
        return linear(self.weights, "classifier", torch.cat(heads))

    def _head(self, flat: Tensor, name: str) -> Tensor:
        if f"{name}.2.weight" not in self.weights:
            return flat
        hidden = linear(self.weights, f"{name}.2", flat)
        if self.layout.batch_norm:
            hidden = normalised(hidden, self.weights, f"{name}.3")
        return torch.where(hidden > 0, hidden, torch.zeros_like(hidden))

    def _layer(self, x: Map, name: str, kernels: tuple[int, ...], pool: int) -> Map:
        each = 3 if self.layout.batch_norm else 2
        for number in range(len(kernels)):
            strided = self.layout.strided and number == len(kernels) - 1
            x = self._activated(x, name, number * each, pool if strided else 1)
        return x if self.layout.strided else _max_pool(x, pool)

    def _activated(self, x: Map, name: str, number: int, stride: int = 1) -> Map:
        x = _convolve(x, self.weights[f"{name}.{number}.weight"], self.weights[f"{name}.{number}.bias"], stride)
        if self.layout.batch_norm:
            x = _channel_norm(x, self.weights, f"{name}.{number + 1}")
        return _relu(x)

    def _tower(self, video: Tensor, flow: int) -> Map:
        x = [list(video)]
        for number, pool in enumerate(self.layout.pools):
            x = self._layer(x, f"towers.{flow}.{number}", self.layout.kernels[flow], pool)
        return x

    def _inception(self, x: Map) -> Map:
        place, each = 0, 3 if self.layout.batch_norm else 2
        for module, pool in enumerate(self.layout.pools):
            flows = [
                self._layer(x, f"towers.0.{place}.flows.{n}", kernel, pool)
                for n, kernel in enumerate(self.layout.kernels)
            ]
            x = [steps for flow in flows for steps in flow]
            place += 1
            if not (self.layout.reduce_each or module == len(self.layout.pools) - 1):
                continue
            if isinstance(self.layout.reduction, str):
                pool_channels = mean if self.layout.reduction == "mean" else maximum
                x = [[pool_channels([steps[t] for steps in x]) for t in range(len(x[0]))]]
                place += 1
                continue
            for _ in self.layout.reduction:
                x = self._activated(x, "towers.0", place)
                place += each
        return x
