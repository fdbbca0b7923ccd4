"""The networks of VideoLSTM against plain loops over its equations, and what its text says of them."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import models
from models.recurrence import attended_product
from tests.models.counts import Count
from tests.models.reference.agree import Features, agree, randomise
from tests.models.reference.alstm import alstm, motion_alstm
from tests.models.reference.conv_alstm import conv_alstm
from tests.models.reference.conv_lstm import conv_lstm
from tests.models.reference.video_lstm import video_lstm

MAP, FLOW_MAP, FLOW_VECTOR = (3, 3, 2), (2, 3, 2), (5,)
SMALL: dict[str, Any] = {"num_classes": 3, "hidden": 4, "fc_dim": 5}
SHAPES: dict[str, Any] = {
    "alstm": MAP,
    "conv_lstm": MAP,
    "conv_alstm": MAP,
    "motion_alstm": {"rgb": MAP, "flow": FLOW_VECTOR},
    "video_lstm": {"rgb": MAP, "flow": FLOW_MAP},
}
REFERENCES: dict[str, Callable[..., Any]] = {
    "alstm": alstm,
    "conv_lstm": conv_lstm,
    "conv_alstm": conv_alstm,
    "motion_alstm": motion_alstm,
    "video_lstm": video_lstm,
}
ATTENTIVE = sorted(set(SHAPES) - {"conv_lstm"})
VGG = (512, 7, 7)


def build(kind: str, **options: Any) -> nn.Module:
    extra = {} if kind == "conv_lstm" else {"attention_dim": 6}
    return randomise(models.build(kind, feature_shape=SHAPES[kind], **SMALL, **extra, **options))


def features_of(kind: str, videos: int = 3, steps: int = 4, dtype: torch.dtype = torch.float64) -> Features:
    shape = SHAPES[kind]
    if isinstance(shape, dict):
        return {name: torch.randn(videos, steps, *size, dtype=dtype) for name, size in shape.items()}
    return torch.randn(videos, steps, *shape, dtype=dtype)


CASES = [(kind, {"initial_state": state}) for kind in SHAPES for state in ("zero", "learned")]
CASES += [("video_lstm", {"motion_kernel_size": 1}), ("conv_alstm", {"kernel_size": 1})]


@pytest.mark.parametrize(("kind", "options"), CASES)
@pytest.mark.parametrize("lengths", [None, (4, 1, 3)])
def test_outputs_and_gradients_equal_the_reference(
    kind: str, options: dict[str, Any], lengths: tuple[int, ...] | None
) -> None:
    agree(build(kind, **options), REFERENCES[kind], features_of(kind), lengths)


@pytest.mark.parametrize("kind", SHAPES)
def test_one_step_of_one_video_equals_the_reference(kind: str) -> None:
    agree(build(kind), REFERENCES[kind], features_of(kind, videos=1, steps=1))


@pytest.mark.parametrize("kind", ["conv_alstm", "video_lstm"])
def test_without_memory_for_its_products_attention_still_equals_the_reference(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, features = build(kind), features_of(kind)
    expected = network(features).logits
    monkeypatch.setattr(attended_product, "KEPT_SHARE", 0.0)
    assert torch.equal(network(features).logits, expected)
    agree(network, REFERENCES[kind], features, (2, 4, 1))


@pytest.mark.parametrize("kind", SHAPES)
def test_a_second_backward_pass_through_the_same_graph_gives_the_same_gradients(kind: str) -> None:
    network = build(kind)
    total = network(features_of(kind)).logits.square().sum()
    total.backward(retain_graph=True)
    first = [p.grad.clone() for p in network.parameters()]
    network.zero_grad()
    total.backward()
    for parameter, expected in zip(network.parameters(), first, strict=True):
        torch.testing.assert_close(parameter.grad, expected)


@pytest.mark.parametrize("kind", SHAPES)
def test_without_gradients_the_logits_are_the_same(kind: str) -> None:
    network, features = build(kind), features_of(kind)
    with torch.no_grad():
        without = network(features).logits
    torch.testing.assert_close(without, network(features).logits)


@pytest.mark.parametrize("kind", SHAPES)
def test_frozen_weights_let_gradients_through_to_the_features(kind: str) -> None:
    network = build(kind)
    leaf = {name: value.requires_grad_() for name, value in named(features_of(kind)).items()}
    given = leaf if isinstance(SHAPES[kind], dict) else leaf["rgb"]
    network(given).logits.square().sum().backward()
    expected = {name: value.grad.clone() for name, value in leaf.items()}
    for value in leaf.values():
        value.grad = None
    network.requires_grad_(False)
    network(given).logits.square().sum().backward()
    for name, value in leaf.items():
        torch.testing.assert_close(value.grad, expected[name])


def named(features: Features) -> dict[str, Tensor]:
    return features if isinstance(features, dict) else {"rgb": features}


@pytest.mark.parametrize("kind", ATTENTIVE)
def test_attention_sums_to_one_over_positions(kind: str) -> None:
    attention = build(kind)(features_of(kind)).attention
    assert attention.shape == (3, 4, 3, 2)
    torch.testing.assert_close(attention.sum((2, 3)), torch.ones(3, 4, dtype=torch.float64))
    assert attention.std((2, 3)).min() > 0


@pytest.mark.parametrize("kind", ATTENTIVE)
def test_padded_steps_have_no_attention_and_no_scores(kind: str) -> None:
    mask = torch.arange(4) < torch.tensor([[4], [1], [3]])
    output = build(kind)(features_of(kind), mask)
    assert not output.attention[~mask].any()
    assert not output.logits[~mask].any()


@pytest.mark.parametrize("kind", ["video_lstm", "motion_alstm"])
def test_the_bottom_layer_only_steers_attention(kind: str) -> None:
    """VideoLSTM, section 3.2: it "does not provide any direct information to the top layer"."""
    network, features = build(kind), features_of(kind)
    other = {"rgb": features["rgb"], "flow": torch.randn_like(features["flow"])}
    assert not torch.allclose(network(features).logits, network(other).logits)
    network.attention.score_weight.data.zero_()  # every position has the same share, whatever the bottom layer says
    torch.testing.assert_close(network(features).logits, network(other).logits)


def test_video_lstm_with_its_own_state_for_the_bottom_layer_is_a_conv_alstm() -> None:
    """With a bottom layer that passes nothing on, attention sees rgb alone."""
    video, features = build("video_lstm", initial_state="zero"), features_of("video_lstm")
    single = build("conv_alstm", initial_state="zero")
    single.load_state_dict({k: v for k, v in video.state_dict().items() if k in single.state_dict()})
    for network in (video, single):
        network.attention.hidden_weight.data.zero_()
    torch.testing.assert_close(video(features).logits, single(features["rgb"]).logits)


@pytest.mark.parametrize("kind", SHAPES)
def test_order_of_steps_matters_and_the_future_does_not(kind: str) -> None:
    network, features = build(kind, initial_state="zero"), named(features_of(kind))
    given = (lambda f: f) if isinstance(SHAPES[kind], dict) else (lambda f: f["rgb"])
    logits = network(given(features)).logits
    changed = {name: torch.cat([value[:, :-1], value[:, -1:] + 1], 1) for name, value in features.items()}
    torch.testing.assert_close(network(given(changed)).logits[:, :-1], logits[:, :-1])
    backwards = {name: value.flip(1) for name, value in features.items()}
    assert not torch.allclose(network(given(backwards)).logits[:, -1], logits[:, -1])


def test_maps_of_two_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"got height and width \[2, 2\], allowed: those of rgb, \[3, 2\]"):
        models.build("video_lstm", num_classes=3, feature_shape={"rgb": MAP, "flow": (2, 2, 2)})


COUNTS = [  # by arithmetic over the papers' sizes
    ("alstm", VGG, {}, 3_778_662),
    ("conv_lstm", VGG, {}, 44_671_077),
    ("conv_alstm", VGG, {}, 49_916_006),
    ("conv_alstm", VGG, {"initial_state": "zero"}, 45_196_390),
    ("video_lstm", {"rgb": VGG, "flow": VGG}, {}, 82_949_222),
    ("video_lstm", {"rgb": VGG, "flow": VGG}, {"initial_state": "zero"}, 73_509_990),
    ("video_lstm", {"rgb": VGG, "flow": VGG}, {"motion_kernel_size": 1}, 53_589_094),
    ("motion_alstm", {"rgb": VGG, "flow": (4096,)}, {}, 18_461_798),
]


@pytest.mark.parametrize(("kind", "shape", "options", "expected"), COUNTS)
def test_parameter_count(counted: Count, kind: str, shape: Any, options: dict[str, Any], expected: int) -> None:
    with torch.device("meta"):
        network = models.build(kind, num_classes=101, feature_shape=shape, **options)
    assert counted(kind, options, network) == expected


def test_parts_of_the_count_of_conv_lstm() -> None:
    with torch.device("meta"):
        network = models.build("conv_lstm", num_classes=101, feature_shape=VGG)
    assert sum(p.numel() for p in network.gates.parameters()) == 18_876_416
    assert sum(p.numel() for p in network.classifier.parameters()) == 25_794_661


@pytest.mark.parametrize("initial_weights", ["code", "pytorch"])
@pytest.mark.parametrize("kind", SHAPES)
def test_first_weights_are_as_wide_as_said(kind: str, initial_weights: str) -> None:
    network = models.build(kind, feature_shape=SHAPES[kind], **SMALL, initial_weights=initial_weights)
    gates = network.gates
    assert not gates.bias.any()
    if gates.input_weight.ndim == 4:
        bound = (3 if initial_weights == "code" else 27) ** -0.5
        assert 0.8 * bound < gates.input_weight.abs().max() <= bound
    elif initial_weights == "code":
        assert 0.05 < gates.input_weight.std() < 0.2
