"""Relational LSTM against plain loops over its paper, its properties, and parameter counts by arithmetic."""

import pytest
import torch
from torch import Tensor, nn

from models import backbones, build
from models.parts.relational_module import RelationalModule, relate
from models.relational_lstm import RelationalLSTMNetwork
from tests.models.counts import Count
from tests.models.reference import relational_lstm as reference

K, C = 3, 6
SIZES = {"segments": None, "hidden": 3, "embedding": 2, "width": 2}
MODULE_COUNTS = [
    ({"bias": False}, 44_044_288),
    ({"bias": True}, 44_070_912),
]
COUNTS = [  # beyond the trunk up to conv5_2, 101 classes
    ({"bias": False}, 91_417_253),
    ({}, 91_443_877),
    ({"branches": "non-local", "bias": False}, 86_743_717),
    ({"branches": "non-local"}, 86_770_341),
    ({"branches": "local"}, 42_699_429),
]


def network(**options: object) -> RelationalLSTMNetwork:
    torch.manual_seed(0)
    shape = (C, 2, 3)
    made = RelationalLSTMNetwork(num_classes=K, feature_shape=shape, **{**SIZES, **options}).double().eval()
    for name, value in made.state_dict().items():
        if value.is_floating_point():
            value.uniform_(0.5, 2) if name.endswith("running_var") else value.uniform_(-1, 1)
    return made


def videos(steps: int, count: int) -> Tensor:
    return torch.randn(count, steps, C, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(("options", "expected"), MODULE_COUNTS)
def test_parameters_of_the_module(options: dict[str, bool], expected: int) -> None:
    with torch.device("meta"):
        assert count(RelationalModule(2048, 1024, embedding=1024, **options)) == expected


@pytest.mark.parametrize(("bias", "expected"), [(False, 33_554_432), (True, 33_574_912)])
def test_parameters_of_the_relations_with_a_shared_theta(bias: bool, expected: int) -> None:
    with torch.device("meta"):
        module = RelationalModule(2048, 1024, embedding=1024, bias=bias, shared_theta=True)
    assert count(module.inputs) + count(module.state) == expected


@pytest.mark.parametrize(("channels", "flow"), [(3, 0), (20, 53_312)])
@pytest.mark.parametrize(("options", "expected"), COUNTS)
def test_parameters_with_the_trunk(
    counted: Count, options: dict[str, object], expected: int, channels: int, flow: int
) -> None:
    with torch.device("meta"):
        trunk = backbones.build("resnet101_v2", channels=channels).cut("conv5_2")
        head = build("relational_lstm", num_classes=101, feature_shape=(2048, 7, 7), **options)
    assert counted("relational_lstm", {**options, "channels": channels}, trunk, head) == expected + flow


@pytest.mark.parametrize(
    "options",
    [{}, {"bias": False}, {"shared_theta": True}, {"branches": "local"}, {"branches": "non-local"}],
    ids=str,
)
@pytest.mark.parametrize(("steps", "count"), [(1, 1), (3, 2)])
def test_outputs_and_gradients_equal_the_reference(options: dict[str, object], steps: int, count: int) -> None:
    ours = network(**options)
    features = videos(steps, count).requires_grad_()
    lengths = [steps - row for row in range(count)]
    mask = torch.arange(steps) < torch.tensor(lengths)[:, None]
    parameters = dict(ours.named_parameters())
    state = {**ours.state_dict(), **parameters}
    theirs = {name: value for name, value in options.items() if name in {"branches", "shared_theta"}}
    out = ours(features, mask).logits
    expected = torch.stack(
        [reference.video(state, features[row, :length], embedding=2, **theirs) for row, length in enumerate(lengths)]
    )
    close(out, expected)
    wanted = [features, *parameters.values()]
    weights = torch.randn_like(out)
    found = torch.autograd.grad((out * weights).sum(), wanted)
    grads = torch.autograd.grad((expected * weights).sum(), wanted, allow_unused=True)
    for one, other in zip(found, grads, strict=True):
        close(one, torch.zeros_like(one) if other is None else other)


@pytest.mark.parametrize("bias", [True, False])
def test_features_without_a_gradient_give_the_weights_the_same_gradients(bias: bool) -> None:
    """Then batch norm and embedding are one layer."""
    ours, maps = network(bias=bias), videos(3, 2)
    parameters = list(ours.parameters())
    alone = ours(maps).logits
    along = ours(maps.clone().requires_grad_()).logits
    close(alone, along)
    weights = torch.randn_like(alone)
    grads = [torch.autograd.grad((out * weights).sum(), parameters) for out in (alone, along)]
    for one, other in zip(*grads, strict=True):
        close(one, other)


def test_a_relation_is_equivariant_to_permuting_positions() -> None:
    theta, phi, g = (torch.randn(2, 4, 9, 5, dtype=torch.float64) for _ in range(3))
    order = torch.randperm(9)
    z = relate(theta, phi, g)
    close(relate(theta[..., order, :], phi[..., order, :], g[..., order, :]), z[..., order, :])
    close(relate(theta, phi[..., order, :], g[..., order, :]), z)


def test_the_module_is_equivariant_to_permuting_positions() -> None:
    module, maps = network().relational, videos(3, 2)
    order = torch.randperm(6)
    permuted = maps.flatten(3)[..., order].view_as(maps)
    close(module(permuted).flatten(2), module(maps).flatten(2)[..., order])


def test_without_bias_the_first_step_has_no_temporal_term() -> None:
    """H_0 = 0 (section 4), so that r_h is exactly nought."""
    module = network(bias=False).relational
    maps = videos(1, 2)
    before = module(maps)
    module.state.weight.data.normal_()
    assert torch.equal(module(maps), before)


def test_order_of_steps_counts_in_the_non_local_branch_only() -> None:
    maps = videos(3, 2)
    turned = maps.flip(1)
    local, non_local = network(branches="local"), network(branches="non-local")
    close(local(maps).logits, local(turned).logits)
    assert not torch.allclose(non_local(maps).logits, non_local(turned).logits)


def test_dropout_acts_on_the_concatenated_vectors() -> None:
    out = network()(videos(2, 2))
    assert out.embedding.shape == (2, 2 * C)
    close(out.logits, network().classifier(out.embedding))


def test_the_local_branch_starts_from_timms_weights() -> None:
    with torch.device("meta"):
        trunk = backbones.build("resnet101_v2")
    names = trunk.network.state_dict()
    state = {name: torch.randn(value.shape) for name, value in names.items() if name.startswith(("stages.3", "norm"))}
    ours = RelationalLSTMNetwork(num_classes=K, feature_shape=(2048, 7, 7), branches="local")
    ours.load_local(state)
    assert torch.equal(ours.local.unit.conv2.weight, state["stages.3.blocks.2.conv2.weight"])
    assert torch.equal(ours.local.norm.running_var, state["norm.running_var"])
    with pytest.raises(ValueError, match="got 'non-local'"):
        network(branches="non-local").load_local(state)


def test_training_normalises_by_moving_figures() -> None:
    """So that a batch has no part in the answer of a clip."""
    ours, maps = network(dropout=0.0).train(), videos(2, 3)
    together = ours(maps).logits
    close(network(dropout=0.0).train()(maps[:1]).logits, together[:1])


def test_every_weight_has_a_gradient_when_clips_are_trained() -> None:
    """Conv5_3 of the backbone is cut off: its place is the local branch."""
    backbone = backbones.build("tiny").cut("conv4")
    ours = RelationalLSTMNetwork(num_classes=K, feature_shape=(64, 4, 4), backbone=backbone, segments=2, width=4)
    ours(torch.randn(2, 2, 3, 64, 64)).logits.sum().backward()
    assert all(p.grad is not None for p in ours.parameters())


def test_the_time_loop_compiles_without_a_graph_break() -> None:
    explained = torch._dynamo.explain(network())(videos(2, 1))
    assert explained.graph_break_count == 0
