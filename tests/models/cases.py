"""Every kind of network, small and in float64, with features and a scalar to differentiate."""

from collections.abc import Callable, Mapping
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

import models
from services.specs import ModelSpec

SPECS = {spec.model_fields["kind"].default: spec for spec in get_args(get_args(ModelSpec)[0])}
"""The spec of every kind."""
SHAPES = {"vector": (4,), "map": (3, 3, 2)}
STEPS, VIDEOS, CLASSES = 3, 2, 2
SMALL: dict[str, dict[str, Any]] = {
    "tsn": {"segments": STEPS},
    "lstm": {"hidden": (3,)},
    "ts_lstm": {"hidden": (3,)},
    "temporal_convnet": {"fc_dim": 3, "pools": (1, 2), "frames": STEPS},
    "memory": {"hidden": 3, "controller": 3},
    "relational_lstm": {"segments": STEPS, "momentum": 0.0},
    **{kind: {"hidden": 3, "fc_dim": 3, "attention_dim": 3} for kind in ("alstm", "conv_alstm", "motion_alstm")},
    "conv_lstm": {"hidden": 3, "fc_dim": 3},
    "video_lstm": {"hidden": 3, "fc_dim": 3, "attention_dim": 3},
}
MORE = [
    ("conv_lstm", {"initial_state": "learned"}),
    ("conv_alstm", {"kernel_size": 1, "initial_state": "zero"}),
    ("video_lstm", {"motion_kernel_size": 1}),
    ("lstm", {"predict": "steps"}),
]
CASES = [pytest.param(kind, {}, id=kind) for kind in models.KINDS]
CASES += [pytest.param(kind, options, id=f"{kind}-{next(iter(options))}") for kind, options in MORE]
every_kind = pytest.mark.parametrize(("kind", "options"), CASES)
every_smooth_kind = pytest.mark.parametrize(("kind", "options"), [case for case in CASES if case.id != "memory"])
"""Without the memory network, whose gradient is no derivative: its decisions are steps."""

Named = dict[str, Tensor]


class Case:
    """A network in float64, features of one or two streams, and a scalar of its output."""

    def __init__(self, kind: str, options: Mapping[str, Any]) -> None:
        info = models.KINDS[kind]
        shapes = {name: SHAPES[form] for name, form in info.streams.items()} or {"": SHAPES[info.inputs]}
        shape: Any = shapes if info.streams else shapes[""]
        torch.manual_seed(0)
        built = {**SMALL.get(kind, {}), **options}
        self.network = models.build(kind, num_classes=CLASSES, feature_shape=shape, **built).double().eval()
        for parameter in self.network.parameters():
            nn.init.uniform_(parameter, -0.7, 0.7)
        self.features = {name: torch.randn(VIDEOS, STEPS, *size, dtype=torch.float64) for name, size in shapes.items()}

    def logits(self, features: Named | None = None) -> Tensor:
        given = self.features if features is None else features
        logits: Tensor = self.network(given.get("", given)).logits
        return logits

    def loss(self, features: Named | None = None) -> Tensor:
        return self.logits(features).square().sum()

    @property
    def leaves(self) -> Named:
        """Weights and features, all of which ask for a gradient."""
        return dict(self.network.named_parameters()) | {
            f"features {name}": value.requires_grad_() for name, value in self.features.items()
        }

    def right(self, loss: Callable[[], Tensor] | None = None) -> Named:
        """Gradients of one backward pass."""
        self.forget()
        (self.loss if loss is None else loss)().backward()
        found = self.taken()
        self.forget()
        return found

    def taken(self) -> Named:
        return {name: leaf.grad.clone() for name, leaf in self.leaves.items() if leaf.grad is not None}

    def forget(self) -> None:
        for leaf in self.leaves.values():
            leaf.grad = None


def equal(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        torch.testing.assert_close(
            value, theirs[name], rtol=1e-9, atol=1e-12, msg=lambda text, name=name: f"{name}: {text}"
        )
