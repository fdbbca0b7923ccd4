"""How inputs are normalised: by the library of a backbone, or by the released code of a paper."""

from __future__ import annotations

import warnings

import pytest
import timm
import torch

from models import backbones
from models.backbones.format import IMAGENET, NORMALIZATIONS, InputFormat

NO_MOTION = 128 / 255


def test_normalizations_of_the_papers() -> None:
    rgb, flow = (NORMALIZATIONS["ts_lstm"].of(224, channels) for channels in (3, 4))
    assert rgb == InputFormat(224, 3, (0.3974, 0.3885, 0.3517), (0.2415, 0.2348, 0.2307))
    assert flow == InputFormat(224, 4, (0.421, 0.493), (0.058, 0.060))  # x, y
    assert [NORMALIZATIONS["ts_lstm"].turned(channels) for channels in (3, 4)] == [1, 2]  # y before x
    for name, means in (("video_lstm", (123, 117, 104)), ("tsn", (128, 117, 104))):
        rgb, flow = (NORMALIZATIONS[name].of(224, channels) for channels in (3, 20))
        levels = [(200 / 255 - mean) / std for mean, std in zip(rgb.mean, rgb.std, strict=True)]
        assert levels == pytest.approx([200 - mean for mean in means])
        assert [NORMALIZATIONS[name].turned(channels) for channels in (3, 20)] == [3, 1]  # blue first
        assert [(130 / 255 - mean) / std for mean, std in zip(flow.mean, flow.std, strict=True)] == pytest.approx(
            [2, 2]
        )


def test_a_format_knows_the_bytes_of_a_frame_and_of_a_stack() -> None:
    assert [IMAGENET.of(64, channels).num_bytes for channels in (3, 20)] == [3 * 64 * 64, 20 * 64 * 64]


def test_flow_is_not_turned_and_is_centred_at_no_motion() -> None:
    backbone = backbones.build("bn_inception", channels=10)
    assert backbone.turned == 1
    assert backbone.format == InputFormat(224, 10, (NO_MOTION,) * 2, (1 / 255,) * 2)  # TSN: minus 128, in 0..255
    assert backbones.build("tiny", channels=10).format == InputFormat(64, 10, (NO_MOTION,) * 2, (0.06,) * 2)


def test_googlenet_is_normalised_as_its_published_weights_want() -> None:
    """torchvision turns ImageNet's normalisation into minus a half, over a half (transform_input)."""
    assert backbones.build("googlenet").format == InputFormat(224, 3, (0.5,) * 3, (0.5,) * 3)


def test_timms_own_normalisation_is_published() -> None:
    config = timm.get_pretrained_cfg("resnetv2_101")
    with warnings.catch_warnings(), torch.device("meta"):
        backbone = backbones.build("resnet101_v2")
    assert backbone.format == InputFormat(224, 3, config.mean, config.std)
