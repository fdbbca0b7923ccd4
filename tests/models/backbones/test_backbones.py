"""What every backbone gives, as specs name it; flow input, and weights in their libraries' own formats."""

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from models import ConvNet, backbones
from models.backbones.weights import cross_modality
from services.specs import FEATURES, PRETRAINED
from services.specs.backbone import BATCH_NORM, TIMM

SMALL = ["tiny", "resnet18"]
PARAMETERS = {  # for rgb, without a classifier
    "tiny": 60_688,
    "resnet18": 11_176_512,
    "resnet101": 42_500_160,
    "vgg16": 134_260_544,
    "googlenet": 5_599_904,
    "resnet101_v2": 42_492_480,
    "bn_inception": 10_270_240,
    "efficientnet_lite0": 3_371_008,
}
FIRST_CONV = {
    "tiny": "0.weight",
    "resnet18": "conv1.weight",
    "resnet101": "conv1.weight",
    "vgg16": "features.0.weight",
    "googlenet": "conv1.conv.weight",
    "resnet101_v2": "stem.conv.weight",
    "bn_inception": "conv1_7x7_s2.weight",
    "efficientnet_lite0": "conv_stem.weight",
}


def on_meta(name: str, channels: int) -> ConvNet:
    with torch.device("meta"):
        return ConvNet(backbone=backbones.build(name, channels=channels), num_classes=101)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("name", backbones.BACKBONES)
def test_backbones_give_what_a_spec_may_name(name: str) -> None:
    backbone = on_meta(name, 3).backbone
    frames = torch.empty(2, 3, backbone.format.size, backbone.format.size, device="meta")
    shapes = {feature: tuple(backbone.features(frames, feature).shape[1:]) for feature in backbone.taps}
    assert list(shapes.items()) == list(FEATURES[name].items())
    assert backbone(frames).shape == (2, backbone.feature_dim)
    assert backbone.format.size == (64 if name == "tiny" else 224)
    assert (count(backbone), backbone.first_conv) == (PARAMETERS[name], FIRST_CONV[name])
    assert any(isinstance(layer, _BatchNorm) for layer in backbone.modules()) == (name in BATCH_NORM)


def test_specs_and_models_name_the_same_backbones() -> None:
    assert list(FEATURES) == list(backbones.BACKBONES)
    assert TIMM == backbones.TIMM
    for name in backbones.BACKBONES.keys() - PRETRAINED:
        with pytest.raises(ValueError, match=f"got 'imagenet' for '{name}'"):
            backbones.require_pretrained(name)
    for name in PRETRAINED:
        backbones.require_pretrained(name)


@pytest.mark.parametrize(
    ("name", "channels", "expected"),
    [
        ("resnet101_v2", 3, 42_699_429),
        ("resnet101_v2", 20, 42_699_429 + 53_312),
    ],
)
def test_parameters_with_101_classes(name: str, channels: int, expected: int) -> None:
    assert count(on_meta(name, channels)) == expected  # by arithmetic


@pytest.mark.parametrize(("name", "expected"), [("resnet101_v2", 44_541_480), ("bn_inception", 11_295_240)])
def test_parameters_with_1000_classes(name: str, expected: int) -> None:
    with torch.device("meta"):
        assert count(ConvNet(backbone=backbones.build(name), num_classes=1000)) == expected


@pytest.mark.parametrize(("channels", "expected"), [(3, 14_714_688), (2, 14_714_112)])
def test_parameters_of_vggs_convolutions(channels: int, expected: int) -> None:
    assert count(on_meta("vgg16", channels).backbone.cut("pool5")) == expected


@pytest.mark.parametrize(("channels", "expected"), [(3, 42_500_160), (20, 42_553_472)])
def test_parameters_of_the_resnet_trunk(channels: int, expected: int) -> None:
    assert count(on_meta("resnet101", channels).backbone) == expected


def test_tiny_with_ten_flow_fields_has_the_documented_size() -> None:
    assert count(backbones.build("tiny", channels=20)) == 63_136


@pytest.mark.parametrize("name", SMALL)
def test_flow_stacks_go_through(name: str) -> None:
    backbone = backbones.build(name, channels=20).eval()
    features = backbone(torch.randn(2, 20, 64, 64))
    assert features.shape == (2, backbone.feature_dim)
    assert features.isfinite().all()
    assert backbone.format.channels == 20


def test_an_rgb_kernel_is_averaged_and_repeated() -> None:
    kernel = torch.randn(4, 3, 7, 7)
    wide = cross_modality(kernel, 20)
    assert wide.shape == (4, 20, 7, 7)
    assert all(torch.equal(wide[:, c], kernel.mean(1)) for c in range(20))


def test_flow_weights_of_the_same_width_are_taken_as_they_are() -> None:
    source = backbones.build("tiny", channels=6)
    copy = backbones.build("tiny", channels=6, weights=source.network.state_dict())
    assert torch.equal(copy.network.state_dict()["0.weight"], source.network.state_dict()["0.weight"])


def test_weights_of_another_shape_name_both_shapes() -> None:
    state = backbones.build("tiny", channels=6).network.state_dict()
    with pytest.raises(ValueError, match=r"0\.weight has shape \[16, 6, 3, 3\], expected \[16, 20, 3, 3\]"):
        backbones.build("tiny", channels=20, weights=state)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"got 'resnet50', allowed: bn_inception, .* vgg16, timm:NAME"):
        backbones.build("resnet50")


@pytest.mark.parametrize("name", ["tiny", "bn_inception"])
def test_some_have_no_published_weights(name: str) -> None:
    with pytest.raises(ValueError, match=f"got 'imagenet' for '{name}'"):
        backbones.pretrained_weights(name)


def test_dropout_inside_of_vgg_is_that_of_fc6() -> None:
    with torch.device("meta"):
        backbone = backbones.build("vgg16")
    backbone.drop(0.95)
    assert [layer.p for layer in backbone.modules() if isinstance(layer, nn.Dropout)] == [0.95]
    with pytest.raises(ValueError, match=r"got 0\.5, allowed: none, since nothing is dropped inside of it"):
        backbones.build("tiny").drop(0.5)
