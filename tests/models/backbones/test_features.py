"""Vectors and maps by name, and networks cut off behind one of them."""

import copy

import pytest
import torch

from models import backbones

# 64 pixels where the library allows it: the figures are the same, the test is not slow.
LIBRARIES_OWN = ["resnet18", "googlenet", "timm:test_resnet", "timm:test_vit"]


@pytest.mark.parametrize("name", LIBRARIES_OWN)
def test_the_vector_is_the_librarys_own_forward_pass(name: str) -> None:
    backbone = backbones.build(name).eval()
    size = backbone.format.size if name.startswith("timm") else 64
    frames = torch.randn(2, 3, size, size)
    with torch.no_grad():
        torch.testing.assert_close(backbone(frames), backbone.network(frames))


@pytest.mark.parametrize("name", ["timm:resnet51", "timm:", "resnet51"])
def test_unknown_names_are_refused(name: str) -> None:
    for function in (backbones.build, backbones.require_pretrained, backbones.pretrained_weights):
        with pytest.raises(ValueError, match=f"got '{name}'"):
            function(name)


def test_an_unknown_feature_names_the_known_ones() -> None:
    backbone = backbones.build("tiny")
    for function in (lambda: backbone.features(torch.randn(1, 3, 64, 64), "fc7"), lambda: backbone.cut("fc7")):
        with pytest.raises(ValueError, match="got 'fc7', allowed: pool, conv4"):
            function()


CUTS = [
    ("tiny", "conv4"),
    ("googlenet", "inception5b"),
    ("bn_inception", "inception_5b"),
    ("timm:test_vit", "map"),
    ("timm:test_efficientnet", "map"),
]


@pytest.mark.parametrize(("name", "feature"), CUTS)
def test_a_cut_backbone_gives_the_same_map_and_no_weight_without_gradient(name: str, feature: str) -> None:
    backbone = backbones.build(name).eval()
    size = backbone.format.size if name.startswith("timm") else 64
    frames = torch.randn(1, 3, size, size)
    with torch.no_grad():
        expected = backbone.features(frames, feature)
    cut = backbone.cut(feature)
    found = cut(frames)
    torch.testing.assert_close(found, expected)
    found.sum().backward()
    assert all(p.grad is not None for p in cut.parameters() if p.requires_grad)
    assert list(cut.taps) == [feature]


def test_a_copy_uses_its_own_weights() -> None:
    backbone = backbones.build("tiny").eval()
    twin = copy.deepcopy(backbone)
    for parameter in backbone.parameters():
        parameter.data.zero_()
    assert twin(torch.randn(1, 3, 64, 64)).abs().max() > 0


def test_bn_inception_sees_blue_first_and_0_to_255() -> None:
    """TSN's numbers: blue, green and red minus (104, 117, 128)."""
    backbone = backbones.build("bn_inception").eval()
    frame = torch.rand(1, 3, 64, 64)  # red, green, blue in 0..1
    normalised = (frame - torch.tensor(backbone.format.mean)[:, None, None]) / torch.tensor(backbone.format.std)[
        :, None, None
    ]
    as_tsn = frame.flip(1) * 255 - torch.tensor([104.0, 117.0, 128.0])[:, None, None]
    seen: list[torch.Tensor] = []
    backbone.network.conv1_7x7_s2.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    backbone(normalised)
    torch.testing.assert_close(seen[0], as_tsn, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", ["tiny", "timm:resnet10t"])
def test_channels_are_turned_to_what_weights_expect(name: str) -> None:
    flow, rgb = torch.randn(2, 4, 64, 64), torch.randn(2, 3, 64, 64)
    for frames, turned, order in ((flow, 2, [1, 0, 3, 2]), (rgb, 3, [2, 1, 0])):
        backbone = backbones.build(name, channels=frames.shape[1]).eval()
        for feature in backbone.taps:
            backbone.turned = 1
            expected = backbone.features(frames[:, order], feature)
            backbone.turned = turned
            torch.testing.assert_close(backbone.features(frames, feature), expected)
