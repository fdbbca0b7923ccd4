"""ResNet-101-v2 of Relational LSTM, and any model of timm by its own name: ``timm:NAME``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import timm
import torch
from torch import Tensor, nn

from models.backbones.base import Backbone

PREFIX = "timm:"
RESNET101_V2 = "resnetv2_101"  # pre-activation, without convolution biases
RESNET101_V2_PATH = ("stem", "stages.0", "stages.1", "stages.2", *(f"stages.3.blocks.{i}" for i in range(3)), "norm")


def build(name: str, channels: int) -> Backbone:
    """Build a backbone by timm.

    ``resnet101_v2`` gives ``pool5 (N, 2048)``, ``conv5_2 (N, 2048, 7, 7)``, the sum before the next unit's batch norm,
    which Relational LSTM takes (section 4), and ``conv5_3 (N, 2048, 7, 7)`` after the last batch norm and ReLU. Any
    other model gives ``pool``, what its classifier would see, and ``map``, its last feature map, where it has one.

    Raises:
        ValueError: if timm has no model of that name.
    """
    library_name = _library_name(name)
    network: nn.Module = timm.create_model(library_name, in_chans=channels, num_classes=0)
    if name == "resnet101_v2":
        return Backbone(
            network,
            path=(*RESNET101_V2_PATH, "head"),
            taps={"pool5": "head", "conv5_2": "stages.3.blocks.1", "conv5_3": "norm"},
            **_published(network, channels),
        )
    with torch.device("meta"):
        shadow = timm.create_model(library_name, in_chans=channels, num_classes=0).eval()
    return TimmBackbone(network, map_shape=_map_shape(shadow, channels), **_published(network, channels))


def pretrained_weights(name: str) -> Mapping[str, Tensor]:
    """Return timm's default weights, fetched once into the cache of Hugging Face's hub.

    Raises:
        ValueError: if timm has no such model.
        OSError: if they cannot be fetched.
    """
    state: Mapping[str, Tensor] = timm.create_model(_library_name(name), pretrained=True).state_dict()
    return state


def has_weights(name: str) -> bool:
    """Say whether timm offers weights for a model.

    Raises:
        ValueError: if timm has no such model.
    """
    return bool(timm.models.is_model_pretrained(_library_name(name)))


class TimmBackbone(Backbone):
    """A model of timm by timm's own interface.

    Args:
        network: the model without its classifier.
        map_shape: ``(C, H, W)`` of its last feature map; None where it has none.
        published: as for any backbone.
    """

    def __init__(self, network: nn.Module, *, map_shape: tuple[int, ...] | None, **published: Any) -> None:
        taps = {"pool": "", "map": ""} if map_shape else {"pool": ""}
        super().__init__(network, path=(), taps=taps, **published)
        self.map_shape = map_shape

    def features(self, x: Tensor, name: str) -> Tensor:
        """Turn ``x (N, C, H, W)`` into ``pool (N, D)`` or ``map (N, C, H, W)``."""
        self._path_to(name)  # refuses other names
        x = self._as_expected(x)
        if name == "pool":
            vectors: Tensor = self.network(x)
            return vectors
        maps = _as_map(self.network, self.network.forward_features(x))  # type: ignore[operator]
        assert maps is not None
        return maps

    def cut(self, name: str) -> Backbone:
        """Leave one feature; weights that only the other needs no longer ask for a gradient."""
        self._path_to(name)
        self.taps = {name: ""}
        weight = next(self.network.parameters())
        size = (1, self.channels, self.input_size, self.input_size)
        with torch.enable_grad():
            # evaluation, so that no running statistic moves
            training, _ = self.network.training, self.network.eval()
            frame = torch.zeros(size, device=weight.device, dtype=weight.dtype)
            torch.autograd.backward(self.features(frame, name).sum())
        self.network.train(training)
        for parameter in self.network.parameters():
            parameter.requires_grad_(parameter.grad is not None)
            parameter.grad = None
        return self


def _library_name(name: str) -> str:
    library_name = RESNET101_V2 if name == "resnet101_v2" else name.removeprefix(PREFIX)
    if not timm.is_model(library_name):
        raise ValueError(f"backbone name: got {name!r}, allowed: {PREFIX} and a model of timm {timm.__version__}")
    return library_name


def _published(network: Any, channels: int) -> dict[str, Any]:
    """Return what timm publishes of a model in the words of ``Backbone``."""
    config = network.pretrained_cfg
    first_conv, classifier = _names(config["first_conv"]), _names(config["classifier"])
    return {
        "feature_dim": int(network.head_hidden_size),
        "input_size": int(config["input_size"][-1]),
        "channels": channels,
        "first_conv": f"{first_conv[0]}.weight" if first_conv else "",
        "head": tuple(f"{prefix}." for prefix in classifier),
        "rgb_mean": config["mean"],
        "rgb_std": config["std"],
    }


def _names(entry: str | tuple[str, ...] | list[str] | None) -> tuple[str, ...]:
    if entry is None:
        return ()
    return (entry,) if isinstance(entry, str) else tuple(entry)


@torch.no_grad()
def _map_shape(shadow: Any, channels: int) -> tuple[int, ...] | None:
    """Return ``(C, H, W)`` of the last map of a model whose weights are mere shapes."""
    size = shadow.pretrained_cfg["input_size"][-1]
    maps = _as_map(shadow, shadow.forward_features(torch.empty(1, channels, size, size, device="meta")))
    return None if maps is None else tuple(maps.shape[1:])


def _as_map(network: Any, features: Tensor) -> Tensor | None:
    """Bring maps with channels last, and square grids of tokens, into the form ``(N, C, H, W)``."""
    if features.ndim == 4:
        return features.permute(0, 3, 1, 2) if getattr(network, "output_fmt", "NCHW") == "NHWC" else features
    if features.ndim != 3:
        return None
    tokens = features[:, getattr(network, "num_prefix_tokens", 0) :]
    side = math.isqrt(tokens.shape[1])
    if side * side != tokens.shape[1]:
        return None
    return tokens.transpose(1, 2).reshape(len(tokens), -1, side, side)
