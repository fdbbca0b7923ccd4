"""Backbones: ConvNets that turn a frame ``(N, 3, H, W)`` or a flow stack ``(N, 2L, H, W)`` into vectors and maps.

``BACKBONES`` tells names, features and sizes without importing a network; a backbone's module is imported when it is
built, since torchvision alone takes seconds. ``timm:NAME`` stands for any model of timm.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from models.backbones.base import Backbone
from models.backbones.weights import load_weights

__all__ = ["BACKBONES", "TIMM", "Backbone", "BackboneInfo", "build", "info", "pretrained_weights", "require_pretrained"]

TIMM = "timm:"
_TORCHVISION, _TIMM = "models.backbones.torchvision", "models.backbones.timm"


@dataclass(frozen=True)
class BackboneInfo:
    """What is published of a backbone.

    Attributes:
        name: its name in a spec.
        features: shape of each feature by name, vectors ``(D,)`` and maps ``(C, H, W)``; the first, a vector, is the
            default.
        input_size: height and width of its input in pixels.
        params: number of weights for rgb input, without a classifier.
        module: the module that builds it.
        pretrained: whether its library offers weights.
    """

    name: str
    features: Mapping[str, tuple[int, ...]]
    input_size: int
    params: int
    module: str
    pretrained: bool

    @property
    def feature_dim(self) -> int:
        """D of the vector feature."""
        return next(iter(self.features.values()))[0]


_RESNET101 = {"pool5": (2048,), "conv5_2": (2048, 7, 7), "conv5_3": (2048, 7, 7)}

BACKBONES: Mapping[str, BackboneInfo] = MappingProxyType(
    {
        info.name: info
        for info in (
            BackboneInfo("tiny", {"pool": (64,), "conv4": (64, 4, 4)}, 64, 60_688, "models.backbones.tiny", False),
            BackboneInfo("resnet18", {"pool5": (512,), "conv5_2": (512, 7, 7)}, 224, 11_176_512, _TORCHVISION, True),
            BackboneInfo("resnet101", _RESNET101, 224, 42_500_160, _TORCHVISION, True),
            BackboneInfo("vgg16", {"fc7": (4096,), "pool5": (512, 7, 7)}, 224, 134_260_544, _TORCHVISION, True),
            BackboneInfo(
                "googlenet", {"pool5": (1024,), "inception5b": (1024, 7, 7)}, 224, 5_599_904, _TORCHVISION, True
            ),
            BackboneInfo("resnet101_v2", _RESNET101, 224, 42_492_480, _TIMM, True),
            BackboneInfo(
                "bn_inception",
                {"pool5": (1024,), "inception_5b": (1024, 7, 7)},
                224,
                10_270_240,
                "models.backbones.bn_inception",
                False,
            ),
        )
    }
)
"""ConvNets by name; ``info`` knows models of timm as well."""


def build(name: str, *, channels: int = 3, weights: Mapping[str, Any] | None = None) -> Backbone:
    """Build a backbone.

    Args:
        name: a key of ``BACKBONES``, or ``timm:`` and the name of a model of timm.
        channels: of the input: 3 for rgb, 2L for a stack of L flow fields.
        weights: a state dict in the library's own format, with or without its classifier, bare or filed under
            ``state_dict``; None leaves the library's initial weights. Rgb weights are carried over to flow by averaging
            the first convolution's kernels over colour and repeating the mean for every channel.

    Raises:
        ValueError: if no backbone has that name, or the weights are another architecture's.
    """
    backbone: Backbone = importlib.import_module(_module(name)).build(name, channels)
    if weights is not None:
        load_weights(backbone, weights)
    return backbone


def info(name: str) -> BackboneInfo:
    """Return what is published of a backbone; a model of timm is built for it, without its weights.

    Raises:
        ValueError: if no backbone has that name.
    """
    if name in BACKBONES:
        return BACKBONES[name]
    module = _module(name)
    with torch.device("meta"):
        backbone = build(name)
    features = {"pool": (backbone.feature_dim,)}
    shape = getattr(backbone, "map_shape", None)
    return BackboneInfo(
        name,
        features if shape is None else {**features, "map": shape},
        backbone.input_size,
        sum(parameter.numel() for parameter in backbone.parameters()),
        module,
        importlib.import_module(module).has_weights(name),
    )


def pretrained_weights(name: str) -> Mapping[str, Tensor]:
    """Return the ImageNet weights of the backbone's library, by the library's own loader and cache.

    Raises:
        ValueError: if no backbone has that name, or its library offers none.
        OSError: if they cannot be fetched.
    """
    require_pretrained(name)
    state: Mapping[str, Tensor] = importlib.import_module(_module(name)).pretrained_weights(name)
    return state


def require_pretrained(name: str) -> None:
    """Check that a backbone's library offers ImageNet weights, without fetching them.

    Raises:
        ValueError: if no backbone has that name, or its library offers none.
    """
    module = _module(name)
    offered = BACKBONES[name].pretrained if name in BACKBONES else importlib.import_module(module).has_weights(name)
    if not offered:
        raise ValueError(f"backbone weights: got 'imagenet' for {name!r}, allowed: 'none' or a state-dict file")


def _module(name: str) -> str:
    if name.startswith(TIMM):
        return _TIMM
    if name not in BACKBONES:
        raise ValueError(f"backbone name: got {name!r}, allowed: {', '.join(sorted(BACKBONES))}, {TIMM}NAME")
    return BACKBONES[name].module
