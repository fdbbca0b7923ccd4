"""BN-Inception as TSN uses it: the network of Ioffe and Szegedy (1502.03167) in the form of TSN's published weights."""

from __future__ import annotations

import re
from collections import OrderedDict

import torch
from torch import Tensor, nn

from models.backbones.base import Backbone, with_channels
from models.backbones.format import NORMALIZATIONS

INPUT_SIZE = 224
FEATURE_DIM = 1024
# Widths of each block: 1x1; 3x3 reduced and full; double 3x3 reduced and full; projection after pooling. A block
# without 1x1 and projection halves height and width, and passes a maximum through.
BLOCKS = {
    "3a": (64, 64, 64, 64, 96, 32),
    "3b": (64, 64, 96, 64, 96, 64),
    "3c": (0, 128, 160, 64, 96, 0),
    "4a": (224, 64, 96, 96, 128, 128),
    "4b": (192, 96, 128, 96, 128, 128),
    "4c": (160, 128, 160, 128, 160, 128),
    "4d": (96, 128, 192, 160, 192, 128),
    "4e": (0, 128, 192, 192, 256, 0),
    "5a": (352, 192, 320, 160, 224, 128),
    "5b": (352, 192, 320, 192, 224, 128),
}
MAX_PROJECTED = "5b"  # its projection follows a maximum, those of the other blocks an average


def build(name: str, channels: int) -> Backbone:
    """Build TSN's BN-Inception for inputs ``(N, C, 224, 224)``.

    Features are ``pool5 (N, 1024)`` and ``inception_5b (N, 1024, 7, 7)``. Inputs are red first and in 0..1 before
    normalisation, as for every backbone; the network gets what TSN's weights expect, blue first and in 0..255.
    """
    assert name == "bn_inception"
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    _add_conv(layers, "conv1_7x7_s2", 3, 64, 7, stride=2)
    layers["pool1_3x3_s2"] = nn.MaxPool2d(3, 2, ceil_mode=True)
    _add_conv(layers, "conv2_3x3_reduce", 64, 64, 1)
    _add_conv(layers, "conv2_3x3", 64, 192, 3)
    layers["pool2_3x3_s2"] = nn.MaxPool2d(3, 2, ceil_mode=True)
    width = 192
    for block, widths in BLOCKS.items():
        layers[f"inception_{block}"] = inception = Inception(width, *widths, pool_max=block == MAX_PROJECTED)
        width = inception.width
    assert width == FEATURE_DIM
    layers |= {"global_pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()}
    if channels != 3:
        layers["conv1_7x7_s2"] = with_channels(layers["conv1_7x7_s2"], channels)
    return Backbone(
        nn.Sequential(layers),
        path=tuple(layers),
        taps={"pool5": "flatten", "inception_5b": "inception_5b"},
        feature_dim=FEATURE_DIM,
        input_size=INPUT_SIZE,
        channels=channels,
        first_conv="conv1_7x7_s2.weight",
        head=("fc.", "fc_action.", "last_linear.", "new_fc."),
        translate=from_tsn,
        normalization=NORMALIZATIONS["tsn"],
    )


def has_weights(name: str) -> bool:  # noqa: ARG001 - of any name
    """Say whether a library offers weights; none does, TSN's come as files."""
    return False


def from_tsn(name: str, value: Tensor) -> tuple[str, Tensor]:
    """Return an entry of TSN's flat state dict under its name here, ``inception_3a.1x1`` for ``inception_3a_1x1``.

    Files written by PyTorch 0.3 hold the vectors of batch norm as ``(1, C)``.
    """
    name = re.sub(r"^(inception_\d[a-e])_", r"\1.", name)
    return name, value[0] if value.ndim == 2 and "_bn." in name else value


class Inception(nn.Module):
    """A block of branches side by side: 1x1, 3x3, two 3x3 one after another, and pooling.

    Args:
        width: channels of the input.
        single: channels of the 1x1 branch; 0 for none, with stride 2 in all others.
        reduce: channels between 1x1 and 3x3.
        triple: channels of the 3x3 branch.
        double_reduce: channels between 1x1 and the first of two 3x3.
        double: channels of both.
        projection: channels of the 1x1 after pooling; 0 passes the pooled input through.
        pool_max: pool by maximum, else by average.

    Attributes:
        width: channels of the output.
    """

    def __init__(
        self,
        width: int,
        single: int,
        reduce: int,
        triple: int,
        double_reduce: int,
        double: int,
        projection: int,
        *,
        pool_max: bool,
    ) -> None:
        super().__init__()
        stride = 1 if single else 2
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        self.branches: list[tuple[str, ...]] = []
        if single:
            self.branches.append(_add_conv(layers, "1x1", width, single, 1))
        self.branches.append(
            _add_conv(layers, "3x3_reduce", width, reduce, 1) + _add_conv(layers, "3x3", reduce, triple, 3, stride)
        )
        self.branches.append(
            _add_conv(layers, "double_3x3_reduce", width, double_reduce, 1)
            + _add_conv(layers, "double_3x3_1", double_reduce, double, 3)
            + _add_conv(layers, "double_3x3_2", double, double, 3, stride)
        )
        layers["pool"] = _pool(stride, pool_max=pool_max)
        self.branches.append(("pool", *(_add_conv(layers, "pool_proj", width, projection, 1) if projection else ())))
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.width = single + triple + double + (projection or width)

    def forward(self, x: Tensor) -> Tensor:
        """Turn ``(N, C, H, W)`` into ``(N, width, H, W)``, or half the height and width."""
        return torch.cat([self._branch(names, x) for names in self.branches], 1)

    def _branch(self, names: tuple[str, ...], x: Tensor) -> Tensor:
        for name in names:
            x = self.get_submodule(name)(x)
        return x


def _pool(stride: int, *, pool_max: bool) -> nn.Module:
    if stride == 2:
        return nn.MaxPool2d(3, 2, ceil_mode=True)
    return nn.MaxPool2d(3, 1, 1) if pool_max else nn.AvgPool2d(3, 1, 1)


def _add_conv(
    layers: OrderedDict[str, nn.Module], name: str, width: int, following: int, kernel: int, stride: int = 1
) -> tuple[str, ...]:
    """Add a convolution (with a bias, as Caffe's), batch norm and ReLU; return the three names."""
    names = (name, f"{name}_bn", f"{name}_relu")
    made = (
        nn.Conv2d(width, following, kernel, stride, kernel // 2),
        nn.BatchNorm2d(following),
        nn.ReLU(inplace=True),
    )
    layers.update(zip(names, made, strict=True))
    return names
