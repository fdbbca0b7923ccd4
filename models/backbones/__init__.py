"""Backbones: ConvNets that turn a frame ``(N, 3, H, W)`` or a flow stack ``(N, 2L, H, W)`` into vectors and maps.

A backbone says itself what it takes (`Backbone.format`) and gives (`Backbone.taps`). Its module is imported when it is
built, since torchvision alone takes seconds. ``timm:NAME`` names any model of timm.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from torch import Tensor

from models.backbones.base import TIMM, Backbone
from models.backbones.format import InputFormat
from models.backbones.weights import load_weights

__all__ = ["BACKBONES", "TIMM", "Backbone", "InputFormat", "build", "pretrained_weights", "require_pretrained"]

BACKBONES: Mapping[str, str] = MappingProxyType(
    {
        "tiny": "tiny",
        "resnet18": "torchvision",
        "resnet101": "torchvision",
        "vgg16": "torchvision",
        "googlenet": "torchvision",
        "resnet101_v2": "timm",
        "bn_inception": "bn_inception",
        "efficientnet_lite0": "efficientnet",
    }
)
"""The module here that builds each backbone, by the backbone's name."""


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
    backbone: Backbone = _module(name).build(name, channels)
    if weights is not None:
        load_weights(backbone, weights)
    return backbone


def pretrained_weights(name: str) -> Mapping[str, Tensor]:
    """Return the ImageNet weights of the backbone's library, by the library's own loader and cache.

    Raises:
        ValueError: if no backbone has that name, or its library offers none.
        OSError: if they cannot be fetched.
    """
    require_pretrained(name)
    state: Mapping[str, Tensor] = _module(name).pretrained_weights(name)
    return state


def require_pretrained(name: str) -> None:
    """Check that a backbone's library offers ImageNet weights, without fetching them.

    Raises:
        ValueError: if no backbone has that name, or its library offers none.
    """
    if not _module(name).has_weights(name):
        raise ValueError(f"backbone weights: got 'imagenet' for {name!r}, allowed: 'none' or a state-dict file")


def _module(name: str) -> Any:
    if not name.startswith(TIMM) and name not in BACKBONES:
        raise ValueError(f"backbone name: got {name!r}, allowed: {', '.join(sorted(BACKBONES))}, {TIMM}NAME")
    return importlib.import_module(f"models.backbones.{BACKBONES.get(name, 'timm')}")
