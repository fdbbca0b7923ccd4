"""Networks on frame vectors against plain loops over TS-LSTM and TSN."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch

import models
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


def test_dropout_of_the_lstm_of_002_comes_twice() -> None:
    network = models.build("lstm", num_classes=3, feature_shape=(4,), batch_norm=False, fc_dim=64, dropout=0.5)
    states = torch.ones(1000, 512)
    assert (network.classifier.input_dropout(states) == 0).float().mean().sub(0.5).abs() < 0.02
    assert network.classifier.dropout.p == 0.5
