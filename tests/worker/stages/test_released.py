"""State dicts under the names of TSN's PyTorch code and DataParallel are those of our networks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import models
from models import backbones
from services.errors import UserError
from worker.stages.released import named_as_ours
from worker.stages.start import load_network


def tsn(num_classes: int = 3) -> nn.Module:
    backbone = backbones.build("bn_inception", channels=3)
    return models.build("tsn", num_classes=num_classes, backbone=backbone, feature_shape=(1024,))


def as_tsn_names_it(network: nn.Module, classifier: str) -> dict[str, Tensor]:
    """Return a network's weights as TSN's code would save them, from several GPUs and an old PyTorch."""
    return {
        "module."
        + name.replace("convnet.backbone.network.", "base_model.").replace("convnet.classifier.", classifier): v
        for name, v in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }


@pytest.mark.parametrize("classifier", ["new_fc.", "base_model.fc_action."])
def test_tsn_starts_from_its_released_names(classifier: str) -> None:
    trained, network = tsn(), tsn()
    for value in trained.state_dict().values():
        value.copy_(torch.randn(value.shape).abs() if value.is_floating_point() else value)
    state = named_as_ours(network, as_tsn_names_it(trained, classifier)).state
    assert load_network(network, state, source="tsn.pth") == ()
    for name, value in trained.state_dict().items():
        assert torch.equal(network.state_dict()[name], value), name


def test_a_classifier_of_other_classes_is_left_out() -> None:
    network = tsn(num_classes=5)
    dropped = load_network(network, named_as_ours(network, as_tsn_names_it(tsn(), "new_fc.")).state, source="tsn.pth")
    assert sorted(dropped) == ["convnet.classifier.bias", "convnet.classifier.weight"]


def test_what_does_not_fit_is_named_as_we_name_it() -> None:
    network, state = tsn(), as_tsn_names_it(tsn(), "new_fc.")
    first = next(iter(state))
    state[first] = torch.zeros(2)
    ours = first.replace("module.base_model.", "convnet.backbone.network.")
    with pytest.raises(UserError, match=rf"tsn\.pth: weights of another network: {ours} has shape \[2\]"):
        load_network(network, named_as_ours(network, state).state, source="tsn.pth")


def test_our_own_names_stay() -> None:
    network = models.build("ts_lstm", num_classes=3, feature_shape=(4,))
    assert named_as_ours(network, network.state_dict()).state.keys() == network.state_dict().keys()
