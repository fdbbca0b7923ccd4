"""ResNet-101-v2 of Relational LSTM, and any model of timm by its own name: ``timm:NAME``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import timm
import torch
from torch import Tensor, nn

from models.backbones.base import TIMM, Backbone
from models.backbones.format import IMAGENET

RESNET101_V2 = "resnetv2_101"  # pre-activation, without convolution biases
RESNET101_V2_PATH = ("stem", "stages.0", "stages.1", "stages.2", *(f"stages.3.blocks.{i}" for i in range(3)), "norm")


def build(name: str, channels: int) -> Backbone:
    """Build a backbone by timm.

    ``resnet101_v2`` gives ``pool5 (N, 2048)``, ``conv5_2 (N, 2048, 7, 7)``, the sum before the next unit's batch norm,
    which Relational LSTM takes (section 4), and ``conv5_3 (N, 2048, 7, 7)`` after the last batch norm and ReLU. Any
    other model gives ``pool``, the input of its classifier, and ``map``, its last feature map, where it has one.

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
    return TimmBackbone(network, has_map=_has_map(shadow, channels), **_published(network, channels))


def pretrained_weights(name: str) -> Mapping[str, Tensor]:
    """Return timm's default weights, fetched once into the cache of Hugging Face's hub.

    Raises:
        ValueError: if timm has no such model.
        OSError: if they cannot be fetched.
    """
    state: Mapping[str, Tensor] = timm.create_model(_library_name(name), pretrained=True).state_dict()
    return state


def has_weights(name: str) -> bool:
    """Return whether timm offers weights for a model.

    Raises:
        ValueError: if timm has no such model.
    """
    return bool(timm.models.is_model_pretrained(_library_name(name)))


class TimmBackbone(Backbone):
    """A model of timm by timm's own interface.

    Args:
        network: the model without its classifier.
        has_map: whether it has a last feature map.
        published: as for any backbone.
    """

    def __init__(self, network: nn.Module, *, has_map: bool, **published: Any) -> None:
        super().__init__(network, path=(), taps={"pool": "", "map": ""} if has_map else {"pool": ""}, **published)

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
        """Keep one feature; weights that only the other one uses no longer require a gradient."""
        self._path_to(name)
        self.taps = {name: ""}
        weight = next(self.network.parameters())
        size = (1, self.format.channels, self.format.size, self.format.size)
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
    library_name = RESNET101_V2 if name == "resnet101_v2" else name.removeprefix(TIMM)
    if not timm.is_model(library_name):
        raise ValueError(f"backbone name: got {name!r}, allowed: {TIMM} and a model of timm {timm.__version__}")
    return library_name


def _published(network: Any, channels: int) -> dict[str, Any]:
    """Return what timm publishes of a model as arguments of ``Backbone``."""
    config = network.pretrained_cfg
    first_conv, classifier = _names(config["first_conv"]), _names(config["classifier"])
    return {
        "feature_dim": int(network.head_hidden_size),
        "input_size": int(config["input_size"][-1]),
        "channels": channels,
        "first_conv": f"{first_conv[0]}.weight" if first_conv else "",
        "head": tuple(f"{prefix}." for prefix in classifier),
        "normalization": IMAGENET._replace(rgb_mean=tuple(config["mean"]), rgb_std=tuple(config["std"])),
    }


def _names(entry: str | tuple[str, ...] | list[str] | None) -> tuple[str, ...]:
    if entry is None:
        return ()
    return (entry,) if isinstance(entry, str) else tuple(entry)


@torch.no_grad()
def _has_map(shadow: Any, channels: int) -> bool:
    """Say whether a model, whose weights are mere shapes, has a last map."""
    size = shadow.pretrained_cfg["input_size"][-1]
    return _as_map(shadow, shadow.forward_features(torch.empty(1, channels, size, size, device="meta"))) is not None


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
