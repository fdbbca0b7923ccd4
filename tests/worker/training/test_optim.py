"""Optimisers as the papers use them."""

import math

import pytest
import torch
from torch import nn

from services.specs import OptimizerSpec
from worker.training.optim import build_optimizer, clip_gradients


def parameter(*values: float) -> nn.Parameter:
    weight = nn.Parameter(torch.tensor(values))
    weight.grad = torch.zeros_like(weight)
    return weight


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("sgd", torch.optim.SGD, {"momentum": 0.9, "nesterov": False}),
        ("adam", torch.optim.Adam, {"betas": (0.9, 0.999)}),
        ("rmsprop", torch.optim.RMSprop, {"alpha": 0.9, "momentum": 0}),
    ],
)
def test_settings(name: str, kind: type, expected: dict[str, object]) -> None:
    optimizer = build_optimizer([parameter(1.0)], OptimizerSpec(name=name, learning_rate=0.5, weight_decay=0.25))
    assert type(optimizer) is kind
    group = optimizer.param_groups[0]
    assert {name: group[name] for name in expected} == expected
    assert (group["lr"], group["weight_decay"]) == (0.5, 0.25)


def test_adam_decays_through_the_gradient() -> None:
    """With L2 in the gradient a weight without one moves by the full rate; AdamW would shrink it by rate x decay."""
    weight = parameter(2.0)
    build_optimizer([weight], OptimizerSpec(name="adam", learning_rate=0.1, weight_decay=0.1)).step()
    assert weight.item() == pytest.approx(1.9, abs=1e-4)


@pytest.mark.parametrize("decay", [0.0, 0.5])
@pytest.mark.parametrize("inside", [False, True])
def test_rmsprop_adds_epsilon_outside_or_inside_the_root(inside: bool, decay: float) -> None:
    """By hand: the mean of g^2 is m; the step is lr g / (sqrt(m) + e), or lr g / sqrt(m + e)."""
    spec = OptimizerSpec(
        name="rmsprop", learning_rate=0.1, weight_decay=decay, decay=0.75, epsilon=0.5, epsilon_inside_root=inside
    )
    weight, expected, mean = parameter(2.0), 2.0, 0.0
    optimizer = build_optimizer([weight], spec)
    for gradient in (0.3, -1.0, 0.1):
        weight.grad = torch.tensor([gradient])
        optimizer.step()
        whole = gradient + decay * expected
        mean = 0.75 * mean + 0.25 * whole**2
        expected -= 0.1 * whole / (math.sqrt(mean + 0.5) if inside else math.sqrt(mean) + 0.5)
        assert weight.item() == pytest.approx(expected, rel=1e-5)


def test_rmsprop_has_an_epsilon_of_its_own_unless_it_is_given() -> None:
    group = build_optimizer([parameter(1.0)], OptimizerSpec(name="rmsprop")).param_groups[0]
    assert (group["eps"], group["alpha"]) == (1e-3, 0.9)


def test_clipping() -> None:
    weight = parameter(0.0, 0.0)
    weight.grad = torch.tensor([30.0, -0.4])
    clip_gradients([weight], OptimizerSpec())
    assert weight.grad.tolist() == pytest.approx([30.0, -0.4])
    clip_gradients([weight], OptimizerSpec(clip_value=0.3))
    assert weight.grad.tolist() == pytest.approx([0.3, -0.3])
    clip_gradients([weight], OptimizerSpec(clip_norm=0.1))
    assert weight.grad.norm().item() == pytest.approx(0.1, rel=1e-4)
