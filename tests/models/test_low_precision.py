"""bfloat16 under autocast, where features lie far from zero: norms take the mean away before anything is rounded."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import models
from models.parts.batch_norm import StepBatchNorm
from models.parts.masking import pool
from models.parts.relational_module import RelationalModule
from models.recurrence.initial_state import mean_over_time

MEAN = 30.0
NORMED: dict[str, dict[str, Any]] = {
    "mean_pooling": {"segments": 2},
    "max_pooling": {"segments": 2, "fc_dim": 16},
    "lstm": {"hidden": (16,)},
    "ts_lstm": {"hidden": (16,)},
    "relational_lstm": {"segments": None, "branches": "non-local", "momentum": 0.0, "width": 8},
}
"""Kinds that normalise their features before anything else; the local branch of a Relational LSTM does not."""


def build(kind: str, mean: float) -> nn.Module:
    torch.manual_seed(0)
    relational = kind == "relational_lstm"
    shape = (16, 4, 4) if relational else (16,)
    network = models.build(kind, num_classes=5, feature_shape=shape, **NORMED[kind]).eval()
    norm = network.relational.norm if relational else network.input_norm
    norm.running_mean.fill_(mean)
    return network


def features_of(kind: str) -> Tensor:
    return torch.randn(4, 8, *((16, 4, 4) if kind == "relational_lstm" else (16,)))


def error(network: nn.Module, x: Tensor, expected: Tensor) -> float:
    with torch.autocast("cpu", torch.bfloat16):
        found = network(x).logits.float()
    return float((found - expected).detach().abs().max() / expected.detach().abs().max())


@pytest.mark.parametrize("with_gradients", [False, True])
@pytest.mark.parametrize("kind", NORMED)
def test_features_far_from_zero_are_as_exact_as_those_around_it(kind: str, with_gradients: bool) -> None:
    near, far, x = build(kind, 0.0), build(kind, MEAN), features_of(kind)
    moved = x + MEAN
    expected = near(moved - MEAN).logits
    with torch.set_grad_enabled(with_gradients):
        around_zero, around_mean = error(near, moved - MEAN, expected), error(far, moved, expected)
    print(f"{kind}: largest error {around_zero:.4f} around 0, {around_mean:.4f} around {MEAN:.0f}")
    assert around_mean < max(2 * around_zero, 0.01)


@pytest.mark.parametrize("bias", [True, False])
def test_the_folded_norm_of_a_relational_lstm_is_as_exact_as_the_unfolded(bias: bool) -> None:
    """The largest error against float32 of maps around 30; folded with its mean it was ten times the other."""
    torch.manual_seed(0)
    module = RelationalModule(64, 32, embedding=32, bias=bias, momentum=0.0)
    nn.init.uniform_(module.norm.weight, 0.5, 2.0)
    nn.init.normal_(module.norm.bias)
    module.norm.running_mean.normal_(MEAN, 5.0)
    module.norm.running_var.uniform_(0.5, 2.0)
    maps = module.norm.running_mean[:, None, None] + torch.randn(2, 3, 64, 5, 5)
    with torch.no_grad():
        expected = module(maps)

    def off(run: Callable[[], Tensor]) -> float:
        with torch.autocast("cpu", torch.bfloat16):
            return float((run().detach().float() - expected).abs().max() / expected.abs().max())

    folded = off(lambda: module(maps))
    unfolded = off(lambda: module(maps.clone().requires_grad_()))
    print(f"largest error: folded {folded:.4f}, unfolded {unfolded:.4f}")
    assert folded < 1.5 * unfolded


@pytest.mark.parametrize("training", [False, True])
def test_a_step_batch_norm_counts_and_sums_in_single_precision(training: bool) -> None:
    """600 clips are more than bfloat16 can count one by one, and 30 is far from zero."""
    norms = [StepBatchNorm(3) for _ in range(2)]
    for norm in norms:
        norm.running_mean.fill_(MEAN)
        norm.train(training)
    x = (MEAN + torch.randn(600, 1, 2, 3)).bfloat16()
    mask = torch.rand(600, 1, 2) < 0.95
    found, expected = norms[0](x, mask), norms[1](x.float(), mask)
    torch.testing.assert_close(found.float(), expected, rtol=1e-2, atol=1e-2)
    for name, value in norms[0].named_buffers():
        torch.testing.assert_close(value, norms[1].get_buffer(name), msg=name)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_means_of_masked_steps_are_summed_in_single_precision(dtype: torch.dtype) -> None:
    """The sum of 600 steps of 300 is past the range of float16."""
    x = torch.full((1, 600, 2), 300.0, dtype=dtype)
    mask = torch.ones(1, 600, dtype=torch.bool)
    for found in (pool(x, "mean", mask), mean_over_time(x.transpose(0, 1), mask)):
        assert found.dtype == dtype
        assert found.tolist() == [[300.0, 300.0]]


def test_the_memory_is_read_as_a_mean_of_exact_shares() -> None:
    """A share of 1 / 25 is 0.4 % off in bfloat16, for every item alike."""
    network = models.build("memory", num_classes=2, feature_shape=(4,), hidden=4, controller=4).eval()
    nn.init.eye_(network.write.weight)
    nn.init.zeros_(network.decision.weight)  # nothing is written, so that the mean of all items stands in
    with torch.autocast("cpu", torch.bfloat16):
        embedding = network(torch.ones(1, 25, 4)).embedding
    torch.testing.assert_close(embedding.float(), torch.ones(1, 4))


def test_the_cell_of_a_relational_lstm_is_kept_in_single_precision() -> None:
    """Gates of 1/2 make of a candidate of 1 a cell of 1 - 2^-t, which bfloat16 rounds to 1 at t = 9."""
    module = RelationalModule(2, 2, embedding=2)
    for layer in (module.inputs, module.state, module.up):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    nn.init.eye_(module.up.weight[:, :, 0, 0])
    g_rows = slice(2 * 4 * 2 + 3 * 2, 2 * 4 * 2 + 4 * 2)  # of the candidate: behind theta and phi, and three gates
    module.inputs.bias.data[g_rows] = 20.0
    steps, maps = 10, torch.zeros(1, 10, 2, 1, 1)
    cells: list[Tensor] = []
    tanh = torch.Tensor.tanh

    def seen(value: Tensor) -> Tensor:
        cells.append(value)
        return tanh(value)

    with pytest.MonkeyPatch.context() as patch, torch.autocast("cpu", torch.bfloat16):
        patch.setattr(torch.Tensor, "tanh", seen)
        module(maps)
    assert cells[-1].dtype == torch.float32
    torch.testing.assert_close(cells[-1], torch.full_like(cells[-1], 1 - 2.0**-steps), rtol=0, atol=1e-5)
