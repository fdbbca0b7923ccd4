"""A ConvNet for tests and demonstrations, small enough for a laptop's processor; from no paper."""

from __future__ import annotations

from itertools import pairwise

from torch import nn

from models.backbones.base import Backbone

WIDTHS = (16, 32, 64, 64)
INPUT_SIZE = 64


def build(name: str, channels: int) -> Backbone:
    """Build four 3x3 convolutions of stride 2, each with batch norm and ReLU, and global average pooling.

    Input ``(N, C, 64, 64)``, features ``pool (N, 64)`` and ``conv4 (N, 64, 4, 4)``; 60,688 parameters for rgb, 63,136
    for ten flow fields.
    """
    assert name == "tiny"
    layers: list[nn.Module] = []
    for width, following in pairwise((channels, *WIDTHS)):
        layers += [
            nn.Conv2d(width, following, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(following),
            nn.ReLU(inplace=True),
        ]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return Backbone(
        network,
        path=[str(step) for step in range(len(network))],
        taps={"pool": str(len(network) - 1), "conv4": str(len(layers) - 1)},
        feature_dim=WIDTHS[-1],
        input_size=INPUT_SIZE,
        channels=channels,
        first_conv="0.weight",
        head=("classifier.",),
    )


def has_weights(name: str) -> bool:  # noqa: ARG001 - of any name
    """Say whether a library offers weights; none does."""
    return False
