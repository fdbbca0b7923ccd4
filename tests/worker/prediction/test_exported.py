"""Networks as programs of torch.export and ONNX give the numbers of the network, for other inputs of the shape too."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils import _pytree as pytree

import models
from services.errors import UserError
from worker.prediction import exported
from worker.prediction.exported import Logits, NotExported, ProgramWriter, write_program

SMALL: dict[str, dict[str, Any]] = {
    "temporal_convnet": {"fc_dim": 8, "frames": 8, "pools": (2, 2)},
    **{kind: {"hidden": (8,)} for kind in ("ts_lstm", "lstm")},
    **{kind: {"hidden": 4} for kind in ("conv_lstm", "conv_alstm", "video_lstm")},
}
"""Options of networks that are large by default."""
QUICK = ("mean_pooling", "lstm")
"""Of the others `make long` makes sure."""
LONG = [pytest.param(kind, marks=pytest.mark.long) for kind in models.KINDS if kind not in QUICK]


def network_of(kind: str) -> tuple[Logits, Any]:
    """A small network, and a function that draws inputs of one shape."""
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

    return network, inputs


@pytest.mark.parametrize("kind", [*QUICK, *LONG])
def test_every_kind_of_network_is_a_program_for_other_inputs_too(kind: str, tmp_path: Path) -> None:
    network, inputs = network_of(kind)
    write_program(tmp_path / "network.pt2", network, inputs(0))
    program = torch.export.load(tmp_path / "network.pt2").module()
    with torch.no_grad():
        torch.testing.assert_close(program(inputs(1)), network(inputs(1)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [*QUICK, *LONG])
def test_every_kind_of_network_is_a_model_of_onnx_for_other_inputs_too(kind: str, tmp_path: Path) -> None:
    network, inputs = network_of(kind)
    path = tmp_path / "network.onnx"
    write_program(path, network, inputs(0), "onnx")
    session = import_module("onnxruntime").InferenceSession(path, providers=["CPUExecutionProvider"])
    given = [value.numpy() for value in pytree.tree_leaves(inputs(1))]
    [found] = session.run(None, dict(zip((each.name for each in session.get_inputs()), given, strict=True)))
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(found), network(inputs(1)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("form", "name"), [("torch", "x.pt2"), ("onnx", "x.onnx")])
def test_a_program_that_differs_is_not_kept(form: Any, name: str, tmp_path: Path) -> None:
    class Counts(torch.nn.Module):
        """Gives another answer at every call."""

        calls = 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            return x + self.calls

    with pytest.raises(ValueError, match=rf"{name}: the exported program differs from the network by"):
        write_program(tmp_path / name, Counts(), torch.zeros(2), form)
    assert not (tmp_path / name).exists()


class Alien(torch.nn.Module):
    """What ONNX has no operator for."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.linalg.eigvals(x).real


def test_what_onnx_has_no_form_for_is_told_and_the_others_are_written(tmp_path: Path) -> None:
    with pytest.raises(NotExported):
        write_program(tmp_path / "alien.onnx", Alien(), torch.eye(2), "onnx")
    writer = ProgramWriter(tmp_path / "programs", "onnx")
    writer.write("alien", Alien(), torch.eye(2))
    writer.write("linear", torch.nn.Linear(2, 2).eval(), torch.eye(2))
    assert [path.name for path in writer.programs.written] == ["linear.onnx"]
    assert [*writer.programs.left_out] == ["alien"]
    assert writer.programs.left_out["alien"]
    assert not (tmp_path / "programs" / "alien.onnx").exists()


class Choosing(torch.nn.Module):
    """What torch.export cannot follow."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 1 if x.sum() > 0 else x - 1


def test_what_torch_cannot_export_is_told_and_the_others_are_written(tmp_path: Path) -> None:
    writer = ProgramWriter(tmp_path / "programs", "torch")
    writer.write("choosing", Choosing(), torch.eye(2))
    writer.write("linear", torch.nn.Linear(2, 2).eval(), torch.eye(2))
    assert [path.name for path in writer.programs.written] == ["linear.pt2"]
    assert [*writer.programs.left_out] == ["choosing"]
    assert "\n" not in writer.programs.left_out["choosing"]


def test_without_the_extra_onnx_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exported, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"^ONNX needs onnx, onnxscript; hint: pip install 'twostream\[worker,onnx\]'$"):
        ProgramWriter(tmp_path / "programs", "onnx")
    assert not (tmp_path / "programs").exists()
