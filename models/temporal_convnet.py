"""Temporal-ConvNet: convolutions along time over matrices of frame features (TS-LSTM, sec. 3.3; Tables 4, 8 to 10).

Maps are ``(N, C, T, D)`` with one channel at first; every kernel is k x 1, along time.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from models.parts.options import Count, Counts, Limit, OddCount, Share
from models.parts.output import Output
from models.parts.segments import step_of_segments

Architecture = Literal["inception", "vgg"]
Downsample = Literal["pool", "stride"]
Reduction = Sequence[Count] | Literal["mean", "max"]
Kernel = OddCount | Annotated[Sequence[OddCount], Limit("a sequence of one or more odd numbers from 1", len)]
Kernels = Annotated[
    Sequence[Kernel], Limit("a sequence of one or more odd numbers from 1, or of sequences of such", len)
]


class TemporalConvNet(nn.Module):
    """Temporal-Inception by default; the other forms of TS-LSTM by its options.

    ========================= ====================================================================
    1L, 2L                    ``architecture="vgg", kernels=(5,)`` and ``pools=(2,)`` or ``(2, 2)``
    Temporal-VGG              ``architecture="vgg", kernels=(5,)``
    multi-flow Temporal-VGG   ``architecture="vgg"``: a tower with a linear layer of its own for each kernel
    1L (T,T)                  ``pools=(2,), reduction=(1,)``
    2L {(T,T),(T,T)}          ``pools=(2, 2), reduction=(2, 1)``
    stacked Conv3             ``kernels=((3, 3), (3, 3, 3))``
    2-stride                  ``downsample="stride"``
    ========================= ====================================================================

    Args:
        num_classes: K.
        feature_dim: D, 4,096 for two streams of ResNet-101.
        architecture: ``inception`` joins the flows on channels after every module; ``vgg`` keeps them apart.
        kernels: length of each flow's kernel along time; a sequence for a stack of them (Table 10).
        pools: by how much each module shortens time. Its code pools 25 steps by 2, 2, 2 and 3 to 12, 6, 3 and 1; the
            paper says that each module halves.
        downsample: max pooling after a convolution, or a ``stride`` of the convolution (the last of a stack). The code
            of the latter is not public: here it leaves as many steps as pooling would.
        reduction: how channels become fewer: widths of 1x1 convolutions one after another, or ``mean`` or ``max`` over
            channels (Table 9); empty for none. Of ``inception`` only.
        reduce_each: reduce after every module, not after the last alone.
        fc_dim: width of the linear layer before the classifier; None for none.
        batch_norm: before every ReLU, or none.
        dropout: share dropped before the linear layer; 0.2 in the code.
        fc_dropout: share dropped after it; None for the code's, 0.2 of ``inception`` and 0 of ``vgg``.
        spatial_dropout: drop whole channels before the linear layer, as the code does: with one channel left that is a
            sample's every feature. The paper's text says dropout.
        frames: steps that the network sees; clips of another length are sampled at so many equally spaced steps.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        feature_dim: int,
        architecture: Architecture = "inception",
        kernels: Kernels = (5, 7),
        pools: Counts = (2, 2, 2, 3),
        downsample: Downsample = "pool",
        reduction: Reduction = (4, 2, 1),
        reduce_each: bool = False,
        fc_dim: Count | None = 1024,
        batch_norm: bool = True,
        dropout: Share = 0.2,
        fc_dropout: Share | None = None,
        spatial_dropout: bool = False,
        frames: Count = 25,
    ) -> None:
        super().__init__()
        self.frames = frames
        steps = _steps_left(frames, pools)
        build = _Modules(batch_norm, downsample)
        if architecture == "inception":
            flows, channels = build.inception(kernels, pools, reduction, reduce_each)
            self.towers = nn.ModuleList([flows])
        else:
            self.towers, channels = nn.ModuleList(build.tower(kernel, pools) for kernel in kernels), 1
        drop = nn.Dropout2d(dropout) if spatial_dropout else nn.Dropout(dropout)
        width = channels * steps * feature_dim
        self.heads = nn.ModuleList(_head(drop, width, fc_dim, batch_norm) for _ in self.towers)
        after = fc_dropout if fc_dropout is not None else 0.2 if architecture == "inception" else 0.0
        self.dropout = nn.Dropout(after if fc_dim is not None else 0.0)
        self.classifier = nn.Linear(len(self.towers) * (width if fc_dim is None else fc_dim), num_classes)

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Output:
        """Classify videos.

        Args:
            features: ``(N, T, D)``.
            mask: ``(N, T)`` bool, valid steps first.

        Returns:
            Logits ``(N, K)`` and the last hidden layer as embedding.
        """
        x = step_of_segments(features, self.frames, mask, share=0.0)[:, None]  # (N, 1, frames, D)
        flows = [head(tower(x)) for tower, head in zip(self.towers, self.heads, strict=True)]
        embedding = torch.cat(flows, 1)
        return Output(self.classifier(self.dropout(embedding)), embedding=embedding)


class Flows(nn.Module):
    """A multi-flow module: convolutions of several kernels beside one another, joined on channels."""

    def __init__(self, flows: Sequence[nn.Module]) -> None:
        super().__init__()
        self.flows = nn.ModuleList(flows)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(N, F C, T', D)`` of ``x (N, C, T, D)``, F the number of flows."""
        return torch.cat([flow(x) for flow in self.flows], 1)


class ChannelPool(nn.Module):
    """Mean or maximum over channels: ``(N, 1, T, D)``."""

    def __init__(self, pooling: Literal["mean", "max"]) -> None:
        super().__init__()
        self.pooling = pooling

    def forward(self, x: Tensor) -> Tensor:
        """Pool ``x (N, C, T, D)``."""
        return x.mean(1, keepdim=True) if self.pooling == "mean" else x.amax(1, keepdim=True)


class StridedConv(nn.Conv2d):
    """A convolution along time that leaves ``T // stride`` steps, as pooling does."""

    def forward(self, x: Tensor) -> Tensor:
        """Convolve ``x (N, C, T, D)``."""
        return super().forward(x)[:, :, : x.shape[2] // self.stride[0]]


class _Modules:
    """Builds the convolutions of a Temporal-ConvNet."""

    def __init__(self, batch_norm: bool, downsample: Downsample) -> None:
        self._batch_norm, self._downsample = batch_norm, downsample

    def inception(
        self, kernels: Sequence[Kernel], pools: Sequence[int], reduction: Reduction, reduce_each: bool
    ) -> tuple[nn.Module, int]:
        """Return the modules one after another, and the channels that they leave."""
        layers: list[nn.Module] = []
        channels = 1
        for number, pool in enumerate(pools, 1):
            layers.append(Flows([self.layer(channels, kernel, pool) for kernel in kernels]))
            channels *= len(kernels)  # each flow has as many filters as it gets channels
            if reduce_each or number == len(pools):
                reduced, channels = self.reduce(channels, reduction)
                layers += reduced
        return nn.Sequential(*layers), channels

    def tower(self, kernel: Kernel, pools: Sequence[int]) -> nn.Module:
        """Return the layers of one flow, one channel wide."""
        return nn.Sequential(*(self.layer(1, kernel, pool) for pool in pools))

    def layer(self, channels: int, kernel: Kernel, pool: int) -> nn.Module:
        """Return a Temporal-ConvNet layer: convolution, batch norm, ReLU (of each kernel in a stack), pooling."""
        stack = [kernel] if isinstance(kernel, int) else list(kernel)
        layers: list[nn.Module] = []
        for number, size in enumerate(stack, 1):
            strided = self._downsample == "stride" and number == len(stack)
            convolution = StridedConv if strided else nn.Conv2d
            stride = (pool, 1) if strided else (1, 1)
            layers += self._activated(
                convolution(channels, channels, (size, 1), stride=stride, padding=(size // 2, 0)), channels
            )
        if self._downsample == "pool":
            layers.append(nn.MaxPool2d((pool, 1)))
        return nn.Sequential(*layers)

    def reduce(self, channels: int, reduction: Reduction) -> tuple[list[nn.Module], int]:
        """Return the layers that reduce channels, and how many they leave."""
        if isinstance(reduction, str):
            return [ChannelPool(reduction)], 1
        layers: list[nn.Module] = []
        for width, following in pairwise([channels, *reduction]):
            layers += self._activated(nn.Conv2d(width, following, 1), following)
        return layers, reduction[-1] if reduction else channels

    def _activated(self, convolution: nn.Module, channels: int) -> list[nn.Module]:
        norms = [nn.BatchNorm2d(channels)] if self._batch_norm else []
        return [convolution, *norms, nn.ReLU()]


def _head(drop: nn.Module, width: int, fc_dim: int | None, batch_norm: bool) -> nn.Module:
    if fc_dim is None:
        return nn.Sequential(drop, nn.Flatten())
    norms = [nn.BatchNorm1d(fc_dim)] if batch_norm else []
    return nn.Sequential(drop, nn.Flatten(), nn.Linear(width, fc_dim), *norms, nn.ReLU())


def _steps_left(frames: int, pools: Sequence[int]) -> int:
    left = frames
    for pool in pools:
        left //= pool
    if left < 1:
        raise ValueError(
            f"pools: got {tuple(pools)}, which leave nothing of {frames} frames, allowed: one step or more"
        )
    return left
