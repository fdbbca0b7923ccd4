"""Optimisers as the papers use them."""

import pytest
import torch
from torch import nn

from services.specs import OptimizerSpec
from worker.training.optim import build_optimizer, clip_gradients, learning_rate


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


def test_the_rate_falls_after_each_milestone() -> None:
    spec = OptimizerSpec(learning_rate=1.0)
    assert [learning_rate(spec, (2, 4), epoch) for epoch in range(1, 6)] == [1.0, 1.0, 0.1, 0.1, 0.01]


def test_clipping() -> None:
    weight = parameter(0.0, 0.0)
    weight.grad = torch.tensor([30.0, -0.4])
    clip_gradients([weight], OptimizerSpec())
    assert weight.grad.tolist() == pytest.approx([30.0, -0.4])
    clip_gradients([weight], OptimizerSpec(clip_value=0.3))
    assert weight.grad.tolist() == pytest.approx([0.3, -0.3])
    clip_gradients([weight], OptimizerSpec(clip_norm=0.1))
    assert weight.grad.norm().item() == pytest.approx(0.1, rel=1e-4)
