"""Backbones of torchvision, and weights in its own format."""

from __future__ import annotations

import subprocess
import sys
from unittest import mock

import pytest
import torch
from torchvision import models as library

from models import backbones
from models.backbones.weights import cross_modality


def official_state(name: str) -> dict[str, torch.Tensor]:
    """Weights as torchvision publishes them: with the classifier of 1,000 classes."""
    return dict(library.get_model(name, weights=None).state_dict())


@pytest.mark.parametrize("channels", [3, 20])
def test_torchvision_weights_fit(channels: int) -> None:
    state = official_state("resnet18")
    backbone = backbones.build("resnet18", channels=channels, weights=state)
    own = backbone.network.state_dict()
    assert torch.equal(own["layer4.1.conv2.weight"], state["layer4.1.conv2.weight"])
    expected = state["conv1.weight"] if channels == 3 else cross_modality(state["conv1.weight"], channels)
    assert torch.equal(own["conv1.weight"], expected)


def test_older_files_without_batch_counters_fit() -> None:
    state = {name: value for name, value in official_state("resnet18").items() if "num_batches" not in name}
    backbones.build("resnet18", weights=state)


@pytest.mark.parametrize("name", ["resnet18", "resnet101", "vgg16", "googlenet"])
def test_published_weights_come_from_torchvisions_own_loader(name: str) -> None:
    """The download itself is torchvision's; here it is cut off, as there is no network."""
    with mock.patch("torchvision.models._api.load_state_dict_from_url", return_value={"a": torch.ones(1)}) as load:
        assert backbones.pretrained_weights(name) == {"a": torch.ones(1)}
    assert load.call_args.args[0].startswith(f"https://download.pytorch.org/models/{name}-")


def test_models_import_no_torchvision() -> None:
    code = (
        "import sys, models; models.backbones.build('tiny'); sys.exit(bool({'torchvision', 'timm'} & {*sys.modules}))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=240)


def test_weights_of_another_architecture_name_the_first_keys_that_differ() -> None:
    with pytest.raises(ValueError, match=r"^weights of another architecture: 0\.weight is missing; .* and \d+ more$"):
        backbones.build("tiny", weights=official_state("resnet18"))
