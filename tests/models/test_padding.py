"""What lies in the padding reaches nothing: no output, no gradient, no statistic, in training as in the test."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import models
from models.parts.batch_norm import StepBatchNorm
from models.parts.masking import pool, without_padding
from models.parts.moving_batch_norm import MovingBatchNorm2d
from models.parts.relational_module import RelationalModule
from models.recurrence.initial_state import mean_over_time
from tests.models.cases import CASES, Case, every_kind

FRAMES_KINDS = ("convnet", "tsn", "memory", "relational_lstm")
ANYTHING = [float("nan"), float("inf"), -float("inf"), 1e300]
every_value = pytest.mark.parametrize("value", ANYTHING, ids=str)
every_mode = pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
MASK = torch.arange(6) < torch.tensor([[6], [3], [4]])


class Padded(Case):
    """A case of three clips of 3 to 6 steps."""

    def __init__(self, kind: str, options: dict[str, Any], training: bool) -> None:
        super().__init__(kind, {"segments": None, **options} if kind == "relational_lstm" else options)
        self.network.train(training)
        self.features = {
            name: torch.randn(*MASK.shape, *value.shape[2:], dtype=value.dtype) for name, value in self.features.items()
        }


def padded(x: Tensor) -> Tensor:
    """Where ``x (N, T, ...)`` is padded, ``(N, T, 1, ...)``."""
    return ~MASK.reshape(*MASK.shape, *[1] * (x.ndim - 2))


def everything(network: nn.Module, features: dict[str, Tensor], pad: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    buffers = {name: value.clone() for name, value in network.named_buffers()}
    torch.manual_seed(1)  # of dropout and of random steps
    leaves = {name: pad(value).detach().requires_grad_() for name, value in features.items()}
    output = network(leaves.get("", leaves), MASK)
    outputs = {name: value for name, value in output._asdict().items() if value is not None}
    sum(value.square().sum() for value in outputs.values()).backward()
    found = {f"output {name}": value.detach().clone() for name, value in outputs.items()}
    found |= {f"gradient of features {name}": leaf.grad for name, leaf in leaves.items()}
    found |= {f"gradient of {name}": p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}
    found |= {f"statistic {name}": value.clone() for name, value in network.named_buffers()}
    network.zero_grad(set_to_none=True)
    for name, value in network.named_buffers():
        value.copy_(buffers[name])
    return found


def assert_unaffected(network: nn.Module, features: dict[str, Tensor], value: float) -> None:
    expected = everything(network, features, lambda x: x.masked_fill(padded(x), 0))
    found = everything(network, features, lambda x: x.masked_fill(padded(x), value))
    assert found.keys() == expected.keys()
    for name, other in found.items():
        assert other.isfinite().all(), name
        assert torch.equal(other, expected[name]), name
        if name.startswith("gradient of features"):
            assert not other[~MASK].any(), name


@every_mode
@every_value
@every_kind
def test_anything_in_the_padding_is_as_good_as_nothing(
    kind: str, options: dict[str, Any], value: float, training: bool
) -> None:
    case = Padded(kind, options, training)
    assert_unaffected(case.network, case.features, value)


@every_mode
@every_value
@pytest.mark.parametrize("kind", FRAMES_KINDS)
def test_padded_frames_do_not_reach_a_backbone(kind: str, value: float, training: bool) -> None:
    torch.manual_seed(0)
    backbone = models.backbones.build("tiny").cut("conv4" if kind == "relational_lstm" else "pool")
    shape = (64, 4, 4) if kind == "relational_lstm" else (64,)
    options: dict[str, Any] = {"relational_lstm": {"segments": None, "width": 4, "hidden": 8}}.get(kind, {})
    network = (
        models.build(kind, num_classes=2, backbone=backbone, feature_shape=shape, **options).double().train(training)
    )
    assert_unaffected(network, {"": torch.randn(*MASK.shape, 3, 64, 64, dtype=torch.float64)}, value)


@pytest.mark.parametrize("kind", ["convnet", "memory"])
def test_padding_has_no_part_in_the_statistics_of_a_backbones_batch_norms(kind: str) -> None:
    def trained(steps: int) -> dict[str, Tensor]:
        torch.manual_seed(0)
        backbone = models.backbones.build("tiny")
        network = models.build(kind, num_classes=2, feature_shape=(64,), backbone=backbone).train()
        frames = torch.randn(2, 4, 3, 64, 64, generator=torch.Generator().manual_seed(2))
        longer = torch.cat([frames, torch.full((2, steps, 3, 64, 64), 9.0)], 1)
        network(longer, torch.arange(4 + steps).expand(2, -1) < 4)
        return {name: value.clone() for name, value in network.named_buffers()}

    alone, beside_padding = trained(0), trained(5)
    for name, value in alone.items():
        torch.testing.assert_close(beside_padding[name], value, msg=name)


class AsNetwork(nn.Module):
    """A part of a network, called as a network is."""

    def __init__(self, part: nn.Module | None, run: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.part, self.run = part, run

    def forward(self, x: Tensor, mask: Tensor) -> models.Output:
        return models.Output(self.run(x, mask))


def step_batch_norm() -> tuple[nn.Module, tuple[int, ...]]:
    norm = StepBatchNorm(4).double()
    return AsNetwork(norm, lambda x, mask: without_padding(norm(x[:, None], mask[:, None])[:, 0], mask)), (4,)


def moving_batch_norm() -> tuple[nn.Module, tuple[int, ...]]:
    norm = MovingBatchNorm2d(3).double()
    return AsNetwork(norm, lambda x, mask: without_padding(norm(x.flatten(0, 1), mask.flatten()), mask.flatten())), (
        3,
        2,
        2,
    )


def relational() -> tuple[nn.Module, tuple[int, ...]]:
    module = RelationalModule(3, 2, embedding=2).double()
    return AsNetwork(module, module), (3, 2, 2)


PARTS: dict[str, Callable[[], tuple[nn.Module, tuple[int, ...]]]] = {
    "StepBatchNorm": step_batch_norm,
    "MovingBatchNorm2d": moving_batch_norm,
    "RelationalModule": relational,
    "mean": lambda: (AsNetwork(None, lambda x, mask: pool(x, "mean", mask)), (4,)),
    "max": lambda: (AsNetwork(None, lambda x, mask: pool(x, "max", mask)), (4,)),
    "mean over time": lambda: (AsNetwork(None, lambda x, mask: mean_over_time(x.transpose(0, 1), mask)), (4,)),
}


@every_mode
@every_value
@pytest.mark.parametrize("part", PARTS)
def test_parts_of_networks_fill_too(part: str, value: float, training: bool) -> None:
    network, shape = PARTS[part]()
    features = {"": torch.randn(*MASK.shape, *shape, dtype=torch.float64)}
    assert_unaffected(network.train(training), features, value)


def test_every_kind_is_walked() -> None:
    assert {case.values[0] for case in CASES} == set(models.KINDS)
