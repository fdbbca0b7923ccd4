"""Networks as programs of torch.export give the numbers of the network, for other inputs of the same shape too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import models
from worker.prediction.exported import Logits, write_program

SMALL: dict[str, dict[str, Any]] = {
    "temporal_convnet": {"fc_dim": 8, "frames": 8, "pools": (2, 2)},
    **{kind: {"hidden": (8,)} for kind in ("ts_lstm", "lstm")},
    **{kind: {"hidden": 4} for kind in ("conv_lstm", "conv_alstm", "video_lstm")},
}
"""Options of networks that are large by default."""
QUICK = ("mean_pooling", "memory")
"""Of the others `make long` makes sure."""
LONG = [pytest.param(kind, marks=pytest.mark.long) for kind in models.KINDS if kind not in QUICK]


@pytest.mark.parametrize("kind", [*QUICK, *LONG])
def test_every_kind_of_network_is_a_program_for_other_inputs_too(kind: str, tmp_path: Path) -> None:
    form = models.KINDS[kind]
    shapes = {"vector": (6,), "map": (4, 4, 4)}
    shape: Any = {name: shapes[features] for name, features in form.streams.items()} or shapes[form.inputs]
    network = Logits(models.build(kind, num_classes=3, feature_shape=shape, **SMALL.get(kind, {})).eval())

    def inputs(seed: int) -> Any:
        numbers = torch.Generator().manual_seed(seed)
        drawn = {
            name: torch.randn(2, 8, *own, generator=numbers) for name, own in form.streams.items() and shape.items()
        }
        return drawn or torch.randn(2, 8, *shape, generator=numbers)

    write_program(tmp_path / "network.pt2", network, inputs(0))
    program = torch.export.load(tmp_path / "network.pt2").module()
    with torch.no_grad():
        torch.testing.assert_close(program(inputs(1)), network(inputs(1)), rtol=1e-4, atol=1e-5)


def test_a_program_that_differs_is_not_kept(tmp_path: Path) -> None:
    class Counts(torch.nn.Module):
        """Gives another answer at every call."""

        calls = 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            return x + self.calls

    with pytest.raises(ValueError, match=r"x\.pt2: the exported program differs from the network by"):
        write_program(tmp_path / "x.pt2", Counts(), torch.zeros(2))
    assert not (tmp_path / "x.pt2").exists()
