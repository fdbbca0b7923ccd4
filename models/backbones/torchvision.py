"""ResNet-18, ResNet-101, VGG-16 and GoogLeNet of torchvision, without classifiers."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torchvision import models as library

from models.backbones.base import Backbone, with_channels
from models.backbones.format import IMAGENET

INPUT_SIZE = 224
WEIGHTS = "IMAGENET1K_V1"  # the first that were published of each, nearest to those that the papers start from
STEM = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3")
INCEPTIONS = tuple(f"inception{block}" for block in ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b"))


def build(name: str, channels: int) -> Backbone:
    """Build a backbone for inputs ``(N, C, 224, 224)``.

    Vectors are the global average (``pool5``) of ResNet and GoogLeNet, and VGG's ``fc7`` after its ReLU.
    """
    if name == "googlenet":
        return _googlenet(library.googlenet(weights=None, aux_logits=False, init_weights=False), channels)
    network: nn.Module = library.get_model(name, weights=None)
    return _vgg(network, channels) if name.startswith("vgg") else _resnet(network, channels)


def has_weights(name: str) -> bool:  # noqa: ARG001 - of any name
    """Say whether torchvision offers weights; it does for each."""
    return True


def pretrained_weights(name: str) -> Mapping[str, Tensor]:
    """Return torchvision's ImageNet weights, downloaded once into its cache and checked by their hash."""
    state: Mapping[str, Tensor] = library.get_weight(_weight_name(name)).get_state_dict(progress=False, check_hash=True)
    return state


def _weight_name(name: str) -> str:
    enum = library.get_model_weights(name).__name__
    return f"{enum}.{WEIGHTS}"


def _resnet(network: nn.Module, channels: int) -> Backbone:
    """Blocks of the last stage by the paper's names: the first of ``layer4`` is conv5_1."""
    assert isinstance(network, library.ResNet)
    feature_dim = network.fc.in_features
    network.fc = nn.Flatten()
    if channels != 3:
        network.conv1 = with_channels(network.conv1, channels)
    last = [f"layer4.{block}" for block in range(len(network.layer4))]
    maps = {f"conv5_{block + 1}": name for block, name in enumerate(last) if block}
    return Backbone(
        network,
        path=(*STEM, *last, "avgpool", "fc"),
        taps={"pool5": "fc", **maps},
        feature_dim=feature_dim,
        input_size=INPUT_SIZE,
        channels=channels,
        first_conv="conv1.weight",
        head=("fc.",),
    )


def _vgg(network: nn.Module, channels: int) -> Backbone:
    assert isinstance(network, library.VGG)
    network.classifier = network.classifier[:-2]  # without the last dropout and the classifier
    network.flatten = nn.Flatten()
    feature_dim = network.classifier[3].out_features
    if channels != 3:
        network.features[0] = with_channels(network.features[0], channels)
    return Backbone(
        network,
        path=("features", "avgpool", "flatten", "classifier"),  # at 224 pixels the average is the identity
        taps={"fc7": "classifier", "pool5": "avgpool"},
        feature_dim=feature_dim,
        input_size=INPUT_SIZE,
        channels=channels,
        first_conv="features.0.weight",
        head=("classifier.6.",),
        dropout="classifier.2",  # of fc6
    )


def _googlenet(network: nn.Module, channels: int) -> Backbone:
    assert isinstance(network, library.GoogLeNet)
    feature_dim = network.fc.in_features
    network.fc = nn.Flatten()
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):  # as torchvision starts it
            nn.init.trunc_normal_(layer.weight, std=0.01, a=-2, b=2)
    if channels != 3:
        network.conv1.conv = with_channels(network.conv1.conv, channels)
    pooled = [step for block in INCEPTIONS for step in _with_pool(block)]
    return Backbone(
        network,
        path=("conv1", "maxpool1", "conv2", "conv3", "maxpool2", *pooled, "avgpool", "fc"),
        taps={"pool5": "fc", "inception5b": "inception5b"},
        feature_dim=feature_dim,
        input_size=INPUT_SIZE,
        channels=channels,
        first_conv="conv1.conv.weight",
        head=("fc.", "aux1.", "aux2."),
        # torchvision turns its own normalisation into this one for the published weights
        normalization=IMAGENET._replace(rgb_mean=(0.5,) * 3, rgb_std=(0.5,) * 3),
    )


def _with_pool(block: str) -> tuple[str, ...]:
    """Return an inception block's name, after the pooling before it where there is one."""
    pools = {"inception4a": "maxpool3", "inception5a": "maxpool4"}
    return (pools[block], block) if block in pools else (block,)
