"""The memory network against plain loops over MATDL, its stated rules, and parameter counts by arithmetic."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from models import backbones, build
from models.memory import MemoryNetwork, straight_through
from tests.models.counts import Count
from tests.models.reference import memory as reference

K, D = 5, 7
SIZES = {"memory_dim": 6, "hidden": 3, "controller": 4}
COUNTS = [
    ({"feature_shape": (2048,)}, 12_008_549),
    ({"feature_shape": (2048,), "memory_dim": 1024}, 9_283_685),
    ({"feature_shape": (2048,), "hidden": 1024, "controller": 1024}, 22_237_285),
    ({"feature_shape": (4096,)}, 31_089_765),
    ({"feature_shape": (4096,), "memory_dim": 1024}, 16_623_717),
]


def network(shift: float = 0.0, seed: int = 0, **options: object) -> MemoryNetwork:
    """Random weights of some size; ``shift`` moves the decisions up or down."""
    torch.manual_seed(seed)
    made = MemoryNetwork(num_classes=K, feature_dim=D, **{**SIZES, **options}).double().eval()
    for parameter in made.parameters():
        parameter.data.uniform_(-1, 1)
    made.decision.weight.data += shift
    made.feature.bias.data += abs(shift)  # active units, else q = 0, which writes nothing
    return made


def videos(steps: int, count: int = 3, seed: int = 1) -> Tensor:
    return torch.randn(count, steps, D, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("options", "expected"), COUNTS)
def test_parameter_count(counted: Count, options: dict[str, int], expected: int) -> None:
    with torch.device("meta"):
        made = build("memory", num_classes=101, **options)
    assert counted("memory", options, made) == expected


@pytest.mark.parametrize("empty_memory", ["mean", "best"])
@pytest.mark.parametrize("shift", [-3.0, 0.0, 3.0])  # no frame is written, some are, all are
@pytest.mark.parametrize(("steps", "count"), [(1, 1), (1, 3), (6, 1), (7, 3)])
def test_outputs_and_gradients_equal_the_reference(steps: int, count: int, shift: float, empty_memory: str) -> None:
    ours = network(shift, empty_memory=empty_memory)
    features = videos(steps, count).requires_grad_()
    lengths = [max(1, steps - 2 * row) for row in range(count)]
    mask = torch.arange(steps) < torch.tensor(lengths)[:, None]
    state = dict(ours.named_parameters())
    rows = [
        reference.video(reference.weights_of(state), features[row, :length], empty_memory=empty_memory)
        for row, length in enumerate(lengths)
    ]
    out = ours(features, mask)
    for row, (length, expected) in enumerate(zip(lengths, rows, strict=True)):
        close(out.logits[row], expected.scores)
        close(out.embedding[row], expected.feature)
        close(out.writes[row], nn.functional.pad(expected.writes, (0, steps - length)))
        close(out.write_probability[row], nn.functional.pad(expected.probability, (0, steps - length)))
    wanted = [features, *state.values()]
    weights = torch.randn(count, K, dtype=torch.float64)
    found = torch.autograd.grad((out.logits * weights).sum(), wanted)
    theirs = torch.autograd.grad(
        sum((row.scores * w).sum() for row, w in zip(rows, weights, strict=True)), wanted, allow_unused=True
    )
    for one, other in zip(found, theirs, strict=True):
        close(one, torch.zeros_like(one) if other is None else other)


def test_the_cases_of_the_reference_differ() -> None:
    """Otherwise the test above compares less than it says."""
    shares = [network(shift)(videos(7)).writes.mean().item() for shift in (-3.0, 0.0, 3.0)]
    assert shares[0] == 0
    assert 0 < shares[1] < 1
    assert shares[2] == 1


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8])
def test_the_threshold_is_an_option(threshold: float) -> None:
    ours = network(threshold=threshold)
    out = ours(videos(9))
    assert torch.equal(out.writes, (out.write_probability > threshold).double())
    state = dict(ours.named_parameters())
    close(out.logits[0], reference.video(reference.weights_of(state), videos(9)[0], threshold).scores)


def test_when_all_is_written_the_embedding_is_the_mean_of_all_items() -> None:
    ours, features = network(3.0), videos(7)
    out = ours(features)
    assert torch.equal(out.writes, torch.ones(3, 7, dtype=torch.float64))
    close(out.embedding, ours.write(features).mean(1))


def test_when_nothing_is_written_the_rule_holds() -> None:
    features = videos(7)
    mean, best = network(-3.0), network(-3.0, empty_memory="best")
    close(mean(features).embedding, mean.write(features).mean(1))
    out = best(features)
    close(out.embedding, best.write(features)[torch.arange(3), out.write_probability.argmax(1)])
    assert out.writes.sum() == 0


def test_the_lstm_starts_anew_where_a_step_is_not_written() -> None:
    """The steps after an unwritten one see the frames before it through the memory alone."""
    features = videos(5)
    changed = features.clone()
    changed[:, :4] = videos(4, seed=2)
    never, always = network(-0.5), network(0.5)
    for ours in (never, always):
        ours.history.weight.data.zero_()
    never.threshold, always.threshold = 1.0, 0.0
    close(never(features).write_probability[:, 4], never(changed).write_probability[:, 4])
    difference = always(features).write_probability[:, 4] - always(changed).write_probability[:, 4]
    assert difference.abs().max() > 1e-3


def test_the_straight_through_gradient() -> None:
    q = torch.linspace(-8, 8, 101, dtype=torch.float64, requires_grad=True)
    decision, probability = straight_through(q, 0.5)
    assert set(decision.tolist()) == {0.0, 1.0}
    (gradient,) = torch.autograd.grad(decision.sum(), q)
    expected = torch.sigmoid(q) * (1 - torch.sigmoid(q))
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(probability, torch.sigmoid(q), rtol=0, atol=1e-12)


@pytest.mark.parametrize("through", ["memory", "state"])
def test_gradient_reaches_the_controller_through_the_memory_and_through_the_state(through: str) -> None:
    """A later probability depends on an earlier decision on two ways; with one cut, the other carries a gradient."""
    for cut in (False, True):
        ours = network(threshold=0.0)  # everything is written
        (ours.history if through == "state" else ours.context).weight.data.zero_()
        if cut:  # the way that is tested, too: then nothing is left
            (ours.context if through == "state" else ours.history).weight.data.zero_()
        reached = of_the_first_decision(ours, videos(3)).abs().max().item()
        assert reached == 0 if cut else reached > 1e-6


def of_the_first_decision(ours: MemoryNetwork, features: Tensor) -> Tensor:
    """The gradient of the third probability to the first score q (the mean of one item does not move with s_1)."""
    first = torch.zeros(len(features), 1, dtype=features.dtype, requires_grad=True)
    handle = ours.decision.register_forward_hook(_add_once(first))
    later = ours(features).write_probability[:, 2].sum()
    handle.remove()
    return torch.autograd.grad(later, first)[0]


def _add_once(first: Tensor) -> Callable[..., Tensor | None]:
    pending = [first]
    return lambda _module, _inputs, q: q + pending.pop() if pending else None


def test_every_frame_is_written_at_the_start() -> None:
    torch.manual_seed(0)
    ours = MemoryNetwork(num_classes=K, feature_dim=64)
    assert ours(torch.rand(4, 9, 64)).writes.mean() == 1


def test_clips_go_through_a_backbone() -> None:
    ours = MemoryNetwork(num_classes=K, backbone=backbones.build("tiny"), **SIZES).eval()
    out = ours(torch.randn(2, 3, 3, 64, 64))
    assert out.logits.shape == (2, K)
    assert out.embedding.shape == (2, 6)


def test_half_precision_counts_exactly() -> None:
    ours = network(3.0).float()
    features = videos(300, count=1).float()
    with torch.autocast("cpu", torch.bfloat16):
        out = ours(features)
    torch.testing.assert_close(out.embedding.float(), ours(features).embedding, rtol=0.05, atol=0.05)
    assert out.writes.sum() == 300


def test_the_time_loop_compiles_without_a_graph_break() -> None:
    ours, features = network(), videos(3)
    explained = torch._dynamo.explain(ours)(features)
    assert explained.graph_break_count == 0
