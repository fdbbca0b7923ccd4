"""Backbones of timm give what timm's own models do."""

from __future__ import annotations

import pytest
import torch

from models import backbones
from services.specs.backbone import TIMM_FEATURES


def test_resnet101_v2_is_timms() -> None:
    backbone = backbones.build("resnet101_v2").eval()
    frames = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(backbone(frames), backbone.network(frames))
        maps = backbone.network.forward_features(frames)
        torch.testing.assert_close(backbone.features(frames, "conv5_3"), maps)
        before = backbone.features(frames, "conv5_2")
        last = backbone.network.stages[3].blocks[2]
        torch.testing.assert_close(backbone.network.norm(last(before)), maps)


@pytest.mark.parametrize("name", ["timm:test_resnet", "timm:test_vit", "timm:swin_s3_tiny_224"])
def test_models_of_timm_publish_what_they_give(name: str) -> None:
    with torch.device("meta"):
        backbone = backbones.build(name, channels=20).eval()
    frames = torch.empty(2, 20, backbone.format.size, backbone.format.size, device="meta")
    assert list(backbone.taps) == list(TIMM_FEATURES.values()) == ["pool", "map"]
    assert backbone.features(frames, "pool").shape == (2, backbone.feature_dim)
    assert backbone.features(frames, "map").ndim == 4
    backbones.require_pretrained(name)


def test_the_map_of_tokens_is_in_its_place() -> None:
    backbone = backbones.build("timm:test_vit").eval()
    network, frames = backbone.network, torch.randn(2, 3, backbone.format.size, backbone.format.size)
    with torch.no_grad():
        maps = backbone.features(frames, "map")
        tokens = network.forward_features(frames)
    side = maps.shape[-1]
    torch.testing.assert_close(maps[:, :, 1, 2], tokens[:, network.num_prefix_tokens + side + 2])
