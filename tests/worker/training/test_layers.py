"""TSN's rates and decays of single layers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import models
from models import backbones
from services.specs import OptimizerSpec
from worker.training.batches import TensorSource
from worker.training.distributed import World
from worker.training.loop import Loop

RATE = 1e-3
FIRST = "convnet.backbone.network.0.weight"


def network(channels: int) -> nn.Module:
    torch.manual_seed(1)
    backbone = backbones.build("tiny", channels=channels)
    return models.build("tsn", num_classes=3, feature_shape=(64,), backbone=backbone, dropout=0.0).double()


def moved(make_loop: Callable[..., Loop], name: str, channels: int, decay: float = 0.0) -> dict[str, Tensor]:
    """How far one update moves every weight that is trained."""
    model = network(channels)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters() if weight.requires_grad}
    clips = torch.randn(4, 3, channels, 64, 64, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    make_loop(
        name=name + str(channels) + str(decay),
        model=model,
        source=lambda _: TensorSource(clips, torch.arange(4) % 3, 4, 3, World()),
        optimizer=OptimizerSpec(name="sgd", learning_rate=RATE, weight_decay=decay),
        iterations=1,
        layer_policy=name,
    ).run()
    return {name: weight.detach() - before[name] for name, weight in model.named_parameters() if name in before}


@pytest.mark.parametrize(("channels", "first"), [(3, 1), (4, 5)])
def test_rates_are_tsns(make_loop: Callable[..., Loop], channels: int, first: float) -> None:
    plain, tsn = (moved(make_loop, name, channels) for name in ("none", "tsn"))
    scales = {name: float(tsn[name].norm() / plain[name].norm()) for name in plain}
    expected = {name: {"convnet.classifier.bias": 2.0, FIRST: first}.get(name, 1.0) for name in plain}
    assert scales == pytest.approx(expected, rel=1e-6)
    assert {"convnet.backbone.network.1.bias", "convnet.backbone.network.1.weight"} <= scales.keys()


def test_weights_alone_decay(make_loop: Callable[..., Loop]) -> None:
    free, decayed = (moved(make_loop, "tsn", 4, decay) for decay in (0.0, 0.5))
    unchanged = {name for name in free if torch.equal(free[name], decayed[name])}
    assert unchanged == {
        "convnet.classifier.bias",
        "convnet.backbone.network.1.bias",
        "convnet.backbone.network.1.weight",
    }
