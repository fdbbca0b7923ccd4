"""TS-LSTM against plain loops over its section 3.2, and parameter counts by arithmetic."""

import pytest
import torch
from torch import Tensor

from models.ts_lstm import TSLSTM
from tests.models.counts import Count

COUNTS = [
    ({}, 9_518_693),
    ({"shared_batch_norm": True}, 9_502_309),
    ({"segments": 5}, 9_535_077),
    ({"hidden": (1024,)}, 21_109_861),
    ({"hidden": (2048,)}, 50_583_653),
    ({"hidden": (512, 512)}, 11_619_941),
    ({"hidden": (1024, 512)}, 24_206_949),
    ({"hidden": (512, 512, 512)}, 13_721_189),
    ({"segments": 1}, 9_502_309),  # as the vanilla LSTM with batch norm
    ({"batch_norm": False}, 9_493_093),  # and without
]


@pytest.mark.parametrize(("options", "expected"), COUNTS)
def test_parameter_count(counted: Count, options: dict[str, object], expected: int) -> None:
    with torch.device("meta"):
        network = TSLSTM(num_classes=101, feature_dim=4096, **options)
    assert counted("ts_lstm", options, network) == expected


def lstm_cell(weights: tuple[Tensor, ...], x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    w_x, w_h, b_x, b_h = weights
    i, f, g, o = (w_x @ x + b_x + w_h @ h + b_h).chunk(4)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def reference(network: TSLSTM, features: Tensor) -> Tensor:
    """Evaluate video by video, segment by segment, step by step."""
    segments, (steps, width) = network.segments, features.shape[1:]
    rows = []
    for video in features:
        vectors = []
        for s in range(segments):
            best = torch.full((width,), -torch.inf, dtype=features.dtype)
            for t in range(s * (steps // segments), (s + 1) * (steps // segments)):
                norm = network.input_norm
                scaled = (video[t] - norm.running_mean[s]) / (norm.running_var[s] + norm.eps).sqrt()
                best = torch.maximum(best, scaled * norm.weight[s] + norm.bias[s])
            vectors.append(best)
        for layer in network.layers:
            h = c = torch.zeros(layer.hidden_size, dtype=features.dtype)
            states = []
            for vector in vectors:
                h, c = lstm_cell(layer.all_weights[0], vector, h, c)
                states.append(h)
            vectors = states
        norm = network.norm
        last = (vectors[-1] - norm.running_mean) / (norm.running_var + norm.eps).sqrt() * norm.weight + norm.bias
        rows.append(network.classifier.weight @ last + network.classifier.bias)
    return torch.stack(rows)


@pytest.mark.parametrize("steps", [3, 7, 25])
def test_output_and_gradient_equal_the_reference(steps: int) -> None:
    network = TSLSTM(num_classes=4, feature_dim=5, hidden=(6, 3)).double()
    for value in network.state_dict().values():
        if value.is_floating_point():
            value.uniform_(0.1, 0.9)
    network.eval()
    features = torch.randn(3, steps, 5, dtype=torch.float64)
    ours, theirs = features.clone().requires_grad_(), features.clone().requires_grad_()
    out, expected = network(ours).logits, reference(network, theirs)
    torch.testing.assert_close(out, expected, rtol=1e-9, atol=1e-12)
    out.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-9, atol=1e-12)


def test_the_remainder_is_dropped() -> None:
    network = TSLSTM(num_classes=4, feature_dim=5).eval()
    features = torch.randn(2, 25, 5)
    changed = features.clone()
    changed[:, 24] += 100
    assert torch.equal(network(features).logits, network(changed).logits)


def test_order_counts_across_segments_but_not_inside_one() -> None:
    network = TSLSTM(num_classes=4, feature_dim=5).eval()
    features = torch.randn(2, 9, 5)
    inside = features[:, [2, 0, 1, 4, 5, 3, 8, 7, 6]]
    across = features[:, [3, 4, 5, 0, 1, 2, 6, 7, 8]]
    torch.testing.assert_close(network(features).logits, network(inside).logits)
    assert not torch.allclose(network(features).logits, network(across).logits)


def test_a_clip_shorter_than_its_segments_is_refused() -> None:
    network = TSLSTM(num_classes=4, feature_dim=5, segments=5)
    with pytest.raises(ValueError, match="got a clip of 4 steps, allowed: at least 5"):
        network(torch.randn(2, 4, 5))
    mask = torch.arange(8) < torch.tensor([[8], [3]])
    with pytest.raises(ValueError, match="got a clip of 3 steps"):
        network(torch.randn(2, 8, 5), mask)


def test_training_with_a_full_mask_equals_training_without() -> None:
    torch.manual_seed(0)
    dense = TSLSTM(num_classes=4, feature_dim=5).double()
    masked = TSLSTM(num_classes=4, feature_dim=5).double()
    masked.load_state_dict(dense.state_dict())
    features = torch.randn(6, 8, 5, dtype=torch.float64)
    torch.testing.assert_close(masked(features, torch.ones(6, 8, dtype=torch.bool)).logits, dense(features).logits)
    torch.testing.assert_close(masked.input_norm.running_var, dense.input_norm.running_var)


def test_the_released_code_draws_every_weight_alike() -> None:
    network = TSLSTM(num_classes=4, feature_dim=50, initial_weights="code")
    for name, weight in network.named_parameters():
        assert weight.abs().max() <= 0.1, name
        assert weight.numel() < 50 or weight.abs().max() > 0.08, name
    assert torch.equal(TSLSTM(num_classes=4, feature_dim=50).input_norm.weight, torch.ones(3, 50))
