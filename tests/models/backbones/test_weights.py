"""Weight files in the official format of each library, made on the spot and carried into backbones."""

import re
from pathlib import Path
from unittest import mock

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torchvision import models as library

from models import backbones
from models.backbones.weights import cross_modality

State = dict[str, Tensor]


def tsn_state() -> State:
    """BN-Inception as TSN files it: flat names, vectors of batch norm as (1, C), the classifier ``fc``."""
    own = backbones.build("bn_inception").network.state_dict()
    flat = {re.sub(r"^(inception_..)\.", r"\1_", name): torch.randn(value.shape) for name, value in own.items()
            if not name.endswith("num_batches_tracked")}  # fmt: skip
    state = {name: value[None] if "_bn." in name else value for name, value in flat.items()}
    return state | {"fc.weight": torch.randn(1000, 1024), "fc.bias": torch.randn(1000)}


@pytest.mark.parametrize("channels", [3, 20])
def test_torchvision_googlenet_with_its_auxiliary_classifiers(tmp_path: Path, channels: int) -> None:
    official = library.googlenet(weights=None, aux_logits=True, init_weights=False).state_dict()
    torch.save(official, tmp_path / "googlenet.pth")
    state = torch.load(tmp_path / "googlenet.pth", weights_only=True)
    own = backbones.build("googlenet", channels=channels, weights=state).network.state_dict()
    assert torch.equal(own["inception5b.branch4.1.conv.weight"], official["inception5b.branch4.1.conv.weight"])
    kernel = official["conv1.conv.weight"]
    assert torch.equal(own["conv1.conv.weight"], kernel if channels == 3 else cross_modality(kernel, channels))


@pytest.mark.parametrize("channels", [3, 10])
@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_a_file_of_timm(tmp_path: Path, suffix: str, channels: int) -> None:
    official = timm.create_model("test_resnet").state_dict()
    path = tmp_path / f"model.{suffix}"
    if suffix == "safetensors":
        save_file(official, path)
        state = load_file(path)
    else:  # as timm's training script files it
        torch.save({"epoch": 3, "arch": "test_resnet", "state_dict": official}, path)
        state = torch.load(path, weights_only=True)
    backbone = backbones.build("timm:test_resnet", channels=channels, weights=state)
    own = backbone.network.state_dict()
    changed = {name for name, value in own.items() if not torch.equal(value, official[name])}
    assert changed == (set() if channels == 3 else {backbone.first_conv})
    if channels != 3:
        assert torch.equal(own[backbone.first_conv], cross_modality(official[backbone.first_conv], channels))


def test_resnet101_v2_takes_a_file_of_timm() -> None:
    official = timm.create_model("resnetv2_101").state_dict()
    own = backbones.build("resnet101_v2", weights=official).network.state_dict()
    assert set(official) - set(own) == {"head.fc.weight", "head.fc.bias"}
    assert all(torch.equal(value, official[name]) for name, value in own.items())


@pytest.mark.parametrize("channels", [3, 10])
def test_a_file_of_tsn(tmp_path: Path, channels: int) -> None:
    official = tsn_state()
    torch.save(official, tmp_path / "bn_inception.pth", _use_new_zipfile_serialization=False)  # PyTorch 0.3's format
    state = torch.load(tmp_path / "bn_inception.pth", weights_only=True)
    own = backbones.build("bn_inception", channels=channels, weights=state).network.state_dict()
    assert torch.equal(own["inception_5b.pool_proj.weight"], official["inception_5b_pool_proj.weight"])
    assert torch.equal(
        own["inception_3a.3x3_reduce_bn.running_var"], official["inception_3a_3x3_reduce_bn.running_var"][0]
    )
    kernel = official["conv1_7x7_s2.weight"]
    assert torch.equal(own["conv1_7x7_s2.weight"], kernel if channels == 3 else cross_modality(kernel, channels))


def test_the_names_of_tsn_are_those_of_its_published_file() -> None:
    shapes = {name: tuple(value.shape) for name, value in tsn_state().items()}
    assert shapes["conv2_3x3_reduce.weight"] == (64, 64, 1, 1)
    assert shapes["inception_3c_double_3x3_2.weight"] == (96, 96, 3, 3)
    assert shapes["inception_4e_double_3x3_2.weight"] == (256, 256, 3, 3)
    assert shapes["inception_5b_pool_proj.weight"] == (128, 1024, 1, 1)
    assert shapes["inception_5b_double_3x3_reduce_bn.weight"] == (1, 192)
    assert "inception_3c_1x1.weight" not in shapes
    assert "inception_3c_pool_proj.weight" not in shapes


def test_a_checkpoint_of_tsns_training(tmp_path: Path) -> None:
    """``{"state_dict": {"module.base_model.conv1...": ...}}``, without a classifier inside the base model."""
    plain = {name: value for name, value in tsn_state().items() if not name.startswith("fc.")}
    filed = {f"module.base_model.{name}": value for name, value in plain.items()}
    filed |= {"module.new_fc.weight": torch.randn(101, 1024), "module.new_fc.bias": torch.randn(101)}
    torch.save({"epoch": 80, "arch": "BNInception", "state_dict": filed, "best_prec1": 0.85}, tmp_path / "tsn.pth.tar")
    state = torch.load(tmp_path / "tsn.pth.tar", weights_only=True)
    own = backbones.build("bn_inception", weights=state).network.state_dict()
    assert torch.equal(own["conv2_3x3.weight"], plain["conv2_3x3.weight"])


def test_our_own_names_fit_too() -> None:
    source = backbones.build("bn_inception").network.state_dict()
    own = backbones.build("bn_inception", weights=source).network.state_dict()
    assert all(torch.equal(value, source[name]) for name, value in own.items())


def test_published_weights_of_timm_come_from_its_own_loader() -> None:
    """The download itself is that of Hugging Face's hub; here it is cut off, as there is no network."""
    official = timm.create_model("test_resnet").state_dict()
    with mock.patch("timm.models._builder.load_state_dict_from_hf", return_value=dict(official)) as load:
        state = backbones.pretrained_weights("timm:test_resnet")
    assert load.call_args.args[0].startswith("timm/test_resnet")
    assert all(torch.equal(value, official[name]) for name, value in state.items())


def test_a_model_of_timm_without_published_weights_says_so() -> None:
    with pytest.raises(ValueError, match="got 'imagenet' for 'timm:resnetv2_101d'"):
        backbones.pretrained_weights("timm:resnetv2_101d")
