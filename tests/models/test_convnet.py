"""A backbone and one linear layer, frame by frame."""

from __future__ import annotations

import pytest
import torch

from models.backbones import build as build_backbone
from models.convnet import ConvNet
from tests.models.counts import Count

CONVNETS = [  # by arithmetic
    ("resnet101", 3, 42_707_109),
    ("resnet101", 10, 42_729_061),
    ("resnet101", 20, 42_760_421),
    ("vgg16", 3, 134_674_341),
    ("vgg16", 2, 134_673_765),
    ("vgg16", 10, 134_678_373),
    ("vgg16", 20, 134_684_133),
]


@pytest.mark.parametrize(("name", "channels", "expected"), CONVNETS)
def test_parameter_count_of_a_convnet(counted: Count, name: str, channels: int, expected: int) -> None:
    with torch.device("meta"):
        network = ConvNet(backbone=build_backbone(name, channels=channels), num_classes=101)
    assert counted("convnet", {"backbone": name, "channels": channels}, network) == expected


def test_a_convnet_classifies_every_frame_of_a_clip() -> None:
    network = ConvNet(backbone=build_backbone("tiny"), num_classes=4).eval()
    clips = torch.rand(2, 3, 3, 64, 64)
    logits = network(clips).logits
    assert logits.shape == (2, 3, 4)
    torch.testing.assert_close(logits[1], network(clips[1]).logits)
