"""Every kind of network, walked through the registry."""

from typing import Any

import pytest
import torch
from torch import Tensor

import models
from tests.models.cases import SPECS

SHAPES = {"vector": (12,), "map": (6, 4, 3)}
SMALL: dict[str, dict[str, Any]] = {
    "lstm": {"hidden": (8,)},
    "ts_lstm": {"hidden": (8,)},
    "temporal_convnet": {"fc_dim": 8},
    "tsn": {"dropout": 0.0},
    "alstm": {"hidden": 8, "attention_dim": 8, "fc_dim": 8},
    "conv_lstm": {"hidden": 8, "fc_dim": 8},
    "conv_alstm": {"hidden": 8, "attention_dim": 8, "fc_dim": 8},
    "motion_alstm": {"hidden": 8, "attention_dim": 8, "fc_dim": 8},
    "video_lstm": {"hidden": 8, "attention_dim": 8, "fc_dim": 8},
}
LOOPS = {"alstm", "conv_lstm", "conv_alstm", "motion_alstm", "video_lstm"}
"""Kinds whose time loop is ours: it compiles without a graph break."""
BY_STEP = LOOPS | {"convnet"}
"""Kinds that classify every step."""

Features = Tensor | dict[str, Tensor]


def build(kind: str, **options: Any) -> torch.nn.Module:
    info = models.KINDS[kind]
    shapes = {name: SHAPES[form] for name, form in info.streams.items()}
    shape: Any = shapes or SHAPES[info.inputs]
    return models.build(kind, num_classes=7, feature_shape=shape, **SMALL.get(kind, {}) | options).eval()


def features_of(kind: str, videos: int, steps: int) -> Features:
    info = models.KINDS[kind]
    if info.streams:
        return {name: torch.randn(videos, steps, *SHAPES[form]) for name, form in info.streams.items()}
    return torch.randn(videos, steps, *SHAPES[info.inputs])


def part(features: Features, videos: slice, steps: slice) -> Features:
    if isinstance(features, dict):
        return {name: value[videos, steps] for name, value in features.items()}
    return features[videos, steps]


def test_specs_and_networks_are_of_the_same_kinds() -> None:
    assert set(SPECS) == set(models.KINDS)


@pytest.mark.parametrize("kind", SPECS)
def test_a_spec_names_the_features_that_its_network_takes(kind: str) -> None:
    info = models.KINDS[kind]
    form = info.inputs if info.inputs != "rgb+flow" else None
    expected = dict(info.streams) if form is None else dict.fromkeys(("rgb", "flow"), form)
    assert dict(SPECS[kind].features) == expected
    assert SPECS[kind].sees_both == (info.inputs == "rgb+flow")
    assert SPECS[kind].trains_backbone == (
        "backbone" in info.options and kind != "convnet"
    )  # `finetune` trains that one


@pytest.mark.parametrize("kind", models.KINDS)
@pytest.mark.parametrize("steps", [3, 25])
def test_logits_have_a_row_for_each_video_or_each_of_its_steps(kind: str, steps: int) -> None:
    output = build(kind)(features_of(kind, 2, steps))
    assert output.logits.shape == ((2, steps, 7) if kind in BY_STEP else (2, 7))


@pytest.mark.parametrize("kind", models.KINDS)
def test_a_padded_clip_gets_the_answer_that_it_gets_alone(kind: str) -> None:
    network = build(kind)
    features = features_of(kind, 3, 11)
    lengths = (11, 4, 7)
    mask = torch.arange(11) < torch.tensor(lengths)[:, None]
    together = network(features, mask)
    for row, length in enumerate(lengths):
        alone = network(part(features, slice(row, row + 1), slice(length)))
        for name, value, expected in zip(alone._fields, together, alone, strict=True):
            if expected is None:
                assert value is None
                continue
            by_step = name in {"attention", "writes", "write_probability"} or expected.ndim == 3
            torch.testing.assert_close(value[row, :length] if by_step else value[row], expected[0])


@pytest.mark.parametrize("kind", models.KINDS)
def test_what_lies_in_the_padding_does_not_matter(kind: str) -> None:
    network = build(kind)
    features = features_of(kind, 2, 6)
    mask = torch.arange(6) < torch.tensor([[6], [4]])
    expected = network(features, mask).logits
    for value in features.values() if isinstance(features, dict) else [features]:
        value[1, 4:] = 1e9
    assert torch.equal(network(features, mask).logits, expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", models.KINDS)
def test_mixed_precision_trains(kind: str, dtype: torch.dtype) -> None:
    network = build(kind).train()
    features = features_of(kind, 4, 6)
    with torch.autocast("cpu", dtype):
        logits = network(features).logits
    logits.float().square().mean().backward()
    # a gradient for every weight: no parameter goes unused, which DistributedDataParallel would wait for
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    assert all(p.grad.dtype == torch.float32 for p in network.parameters())


@pytest.mark.parametrize("kind", models.KINDS)
def test_mixed_precision_is_near_single_precision(kind: str) -> None:
    network = build(kind)
    features = features_of(kind, 2, 6)
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(features).logits.float()
    expected = network(features).logits
    assert (logits - expected).abs().max() <= 0.05 * expected.abs().max() + 0.02


COMPILED = ("lstm", "ts_lstm")
"""A loop of PyTorch's, and one of ours over parts; the others take long."""


# Dynamo looks at .grad of what comes out of nn.LSTM, at which its own graph breaks.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize(
    "kind", [each if each in COMPILED else pytest.param(each, marks=pytest.mark.long) for each in models.KINDS]
)
def test_a_compiled_network_gives_the_same_logits_and_gradients(kind: str) -> None:
    torch.compiler.reset()
    network = build(kind)
    features = features_of(kind, 2, 3)
    compiled = torch.compile(network, backend="aot_eager", fullgraph=kind in LOOPS)
    gradients = []
    for forward in (network, compiled):
        network.zero_grad()
        logits = forward(features).logits
        logits.square().sum().backward()
        gradients.append([logits.detach(), *(p.grad.clone() for p in network.parameters())])
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", models.KINDS)
def test_a_mask_that_is_no_prefix_is_refused(kind: str) -> None:
    mask = torch.ones(1, 6, dtype=torch.bool)
    mask[0, 2] = False
    with pytest.raises(ValueError, match="valid steps first"):
        build(kind)(features_of(kind, 1, 6), mask)
