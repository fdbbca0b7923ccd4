"""Networks on frame vectors against plain loops over TS-LSTM and TSN."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch

import models
from models.backbones import build as build_backbone
from models.convnet import ConvNet
from models.tsn import TSN
from tests.models.counts import Count
from tests.models.reference import frames as reference
from tests.models.reference.agree import agree, randomise

CASES: list[tuple[str, dict[str, Any], Callable[..., Any]]] = [
    ("convnet", {}, reference.convnet),
    ("tsn", {}, reference.tsn),
    *(
        (f"{kind}_pooling", options, partial(reference.pooling, kind=kind, segments=options.get("segments", 1)))
        for kind in ("mean", "max")
        for options in (
            {},
            {"batch_norm": False},
            {"batch_norm": "before"},
            {"batch_norm": "after"},
            {"segments": 3},
            {"segments": 3, "fc_dim": 4},
        )
    ),
    *(
        (
            "lstm",
            {"hidden": hidden, "predict": predict, **options},
            partial(reference.lstm, layers=len(hidden), predict=predict),
        )
        for hidden in ((3,), (4, 3), (3, 4, 2))
        for predict in ("last", "mean", "steps")
        for options in ({}, {"batch_norm": False, "fc_dim": 4, "dropout": 0.5})
    ),
    *(
        (
            "ts_lstm",
            {"hidden": hidden, "pooling": pooling, "segments": segments, **options},
            partial(reference.ts_lstm, segments=segments, kind=pooling, layers=len(hidden)),
        )
        for hidden, segments in (((3,), 1), ((4, 3), 3), ((3, 4, 2), 2))
        for pooling in ("max", "mean")
        for options in ({}, {"batch_norm": False}, {"shared_batch_norm": True})
    ),
]


@pytest.mark.parametrize(("kind", "options", "expected"), CASES)
@pytest.mark.parametrize("lengths", [None, (7, 3, 5)])
def test_outputs_and_gradients_equal_the_reference(
    kind: str, options: dict[str, Any], expected: Callable[..., Any], lengths: tuple[int, ...] | None
) -> None:
    network = randomise(models.build(kind, num_classes=3, feature_shape=(5,), **options))
    agree(network, expected, torch.randn(3, 7, 5, dtype=torch.float64), lengths)


@pytest.mark.parametrize(("kind", "options", "expected"), [case for case in CASES if case[1].get("segments", 1) == 1])
def test_one_step_of_one_video_equals_the_reference(
    kind: str, options: dict[str, Any], expected: Callable[..., Any]
) -> None:
    network = randomise(models.build(kind, num_classes=3, feature_shape=(5,), **options))
    agree(network, expected, torch.randn(1, 1, 5, dtype=torch.float64))


COUNTS = [  # by arithmetic over the papers' sizes
    ("lstm", {}, 9_502_309),
    ("lstm", {"batch_norm": False}, 9_493_093),
    # VideoLSTM's table counts one bias a gate; PyTorch's LSTM has a second of 4 x 512
    ("lstm", {"batch_norm": False, "predict": "steps", "fc_dim": 1024, "dropout": 0.5}, 10_068_069 + 2048),
    ("max_pooling", {}, 430_181),
    ("max_pooling", {"segments": 3}, 1_290_341),
    ("max_pooling", {"segments": 5}, 2_150_501),
    ("max_pooling", {"segments": 3, "fc_dim": 512}, 6_475_877),
    ("max_pooling", {"segments": 5, "fc_dim": 512}, 10_793_061),
]


@pytest.mark.parametrize(("kind", "options", "expected"), COUNTS)
def test_parameter_count(counted: Count, kind: str, options: dict[str, Any], expected: int) -> None:
    with torch.device("meta"):
        network = models.build(kind, num_classes=101, feature_shape=(4096,), **options)
    assert counted(kind, options, network) == expected


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


def test_tsn_is_the_mean_of_its_snippets() -> None:
    network = TSN(num_classes=4, backbone=build_backbone("tiny")).eval()
    clips = torch.rand(2, 5, 3, 64, 64)
    torch.testing.assert_close(network(clips).logits, network.convnet(clips).logits.mean(1))


def test_partial_batch_norm_freezes_all_but_the_first() -> None:
    network = TSN(num_classes=4, backbone=build_backbone("tiny"), dropout=0.0).train()
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    before = [norm.running_mean.clone() for norm in norms]
    network(torch.rand(2, 3, 3, 64, 64)).logits.sum().backward()
    moved = [not torch.equal(norm.running_mean, mean) for norm, mean in zip(norms, before, strict=True)]
    assert moved == [True] + [False] * (len(norms) - 1)
    assert [norm.weight.grad is not None for norm in norms] == moved
    free = TSN(num_classes=4, backbone=build_backbone("tiny"), partial_batch_norm=False).train()
    free(torch.rand(2, 3, 3, 64, 64))
    assert all(m.training for m in free.modules())


def test_dropout_of_the_lstm_of_002_comes_twice() -> None:
    network = models.build("lstm", num_classes=3, feature_shape=(4,), batch_norm=False, fc_dim=64, dropout=0.5)
    states = torch.ones(1000, 512)
    assert (network.classifier.input_dropout(states) == 0).float().mean().sub(0.5).abs() < 0.02
    assert network.classifier.dropout.p == 0.5
