"""Backbones: ConvNets that turn a frame ``(N, 3, H, W)`` or a flow stack ``(N, 2L, H, W)`` into features ``(N, D)``.

``BACKBONES`` tells names, widths and sizes without importing a network; a backbone's module is imported when it is
built, since torchvision alone takes seconds.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from torch import Tensor

from models.backbones.base import Backbone
from models.backbones.weights import load_weights

__all__ = ["BACKBONES", "Backbone", "BackboneInfo", "build", "pretrained_weights"]


@dataclass(frozen=True)
class BackboneInfo:
    """What is published of a backbone.

    Attributes:
        name: its name in a spec.
        feature_dim: D.
        input_size: height and width of its input in pixels.
        params: number of weights for rgb input, without a classifier.
        module: the module that builds it.
        pretrained: whether its library offers weights.
    """

    name: str
    feature_dim: int
    input_size: int
    params: int
    module: str
    pretrained: bool


BACKBONES: Mapping[str, BackboneInfo] = MappingProxyType(
    {
        info.name: info
        for info in (
            BackboneInfo("tiny", 64, 64, 60_688, "models.backbones.tiny", pretrained=False),
            BackboneInfo("resnet18", 512, 224, 11_176_512, "models.backbones.torchvision", pretrained=True),
            BackboneInfo("resnet101", 2048, 224, 42_500_160, "models.backbones.torchvision", pretrained=True),
            BackboneInfo("vgg16", 4096, 224, 134_260_544, "models.backbones.torchvision", pretrained=True),
        )
    }
)


def build(name: str, *, channels: int = 3, weights: Mapping[str, Tensor] | None = None) -> Backbone:
    """Build a backbone.

    Args:
        name: a key of ``BACKBONES``.
        channels: of the input: 3 for rgb, 2L for a stack of L flow fields.
        weights: a state dict in the library's own format, with or without its classifier; None leaves PyTorch's
            initial weights. Rgb weights are carried over to flow by averaging the first convolution's kernels over
            colour and repeating the mean for every channel.

    Raises:
        ValueError: if no backbone has that name, or the weights are another architecture's.
    """
    backbone: Backbone = importlib.import_module(_info(name).module).build(name, channels)
    if weights is not None:
        load_weights(backbone, weights)
    return backbone


def pretrained_weights(name: str) -> Mapping[str, Tensor]:
    """Return the ImageNet weights of the backbone's library, by the library's own loader and cache.

    Raises:
        ValueError: if no backbone has that name, or its library offers none.
    """
    info = _info(name)
    if not info.pretrained:
        raise ValueError(f"backbone weights: got 'imagenet' for {name!r}, allowed: 'none' or a state-dict file")
    state: Mapping[str, Tensor] = importlib.import_module(info.module).pretrained_weights(name)
    return state


def _info(name: str) -> BackboneInfo:
    if name not in BACKBONES:
        raise ValueError(f"backbone name: got {name!r}, allowed: {', '.join(sorted(BACKBONES))}")
    return BACKBONES[name]
