"""ResNet-18, ResNet-101 and VGG-16 of torchvision, without their classifiers (systems.md, section 2)."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torchvision import models as library

from models.backbones.base import Backbone

INPUT_SIZE = 224
# The first published weights of each, nearest to those that the papers start from.
WEIGHTS = {"resnet18": "IMAGENET1K_V1", "resnet101": "IMAGENET1K_V1", "vgg16": "IMAGENET1K_V1"}


def build(name: str, channels: int) -> Backbone:
    """Build a backbone for inputs ``(N, C, 224, 224)``.

    Features are ResNet's global average ``(N, 512)`` or ``(N, 2048)``, or VGG's fc7 after its ReLU, ``(N, 4096)``.
    """
    network: nn.Module = library.get_model(name, weights=None)
    return _vgg(network, channels) if name.startswith("vgg") else _resnet(network, channels)


def pretrained_weights(name: str) -> Mapping[str, Tensor]:
    """Return torchvision's ImageNet weights, downloaded once into its cache and checked by their hash."""
    state: Mapping[str, Tensor] = library.get_weight(_weight_name(name)).get_state_dict(progress=False, check_hash=True)
    return state


def _weight_name(name: str) -> str:
    enum = library.get_model_weights(name).__name__
    return f"{enum}.{WEIGHTS[name]}"


def _resnet(network: nn.Module, channels: int) -> Backbone:
    assert isinstance(network, library.ResNet)
    feature_dim = network.fc.in_features
    network.fc = nn.Identity()
    if channels != 3:
        network.conv1 = _with_channels(network.conv1, channels)
    return Backbone(
        network,
        feature_dim=feature_dim,
        input_size=INPUT_SIZE,
        channels=channels,
        first_conv="conv1.weight",
        head="fc.",
    )


def _vgg(network: nn.Module, channels: int) -> Backbone:
    assert isinstance(network, library.VGG)
    network.classifier = network.classifier[:-2]  # without the last dropout and the classifier
    feature_dim = network.classifier[3].out_features
    if channels != 3:
        network.features[0] = _with_channels(network.features[0], channels)
    return Backbone(
        network,
        feature_dim=feature_dim,
        input_size=INPUT_SIZE,
        channels=channels,
        first_conv="features.0.weight",
        head="classifier.6.",
    )


def _with_channels(conv: nn.Module, channels: int) -> nn.Conv2d:
    """Return the first convolution anew for another input width, drawn as torchvision draws the old one."""
    assert isinstance(conv, nn.Conv2d)
    kernel_size, stride, padding = conv.kernel_size[0], conv.stride[0], int(conv.padding[0])  # all square
    wide = nn.Conv2d(channels, conv.out_channels, kernel_size, stride, padding, bias=conv.bias is not None)
    nn.init.kaiming_normal_(wide.weight, mode="fan_out", nonlinearity="relu")
    if wide.bias is not None:
        nn.init.zeros_(wide.bias)
    return wide
