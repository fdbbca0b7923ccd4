"""Networks of a system as programs of ``torch.export`` or ONNX, which run without this package, for one shape."""

from __future__ import annotations

import logging
import warnings
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from models.backbones import Backbone
from services.errors import UserError
from worker.training.batches import to_device

Form = Literal["torch", "onnx"]
SUFFIXES: dict[Form, str] = {"torch": ".pt2", "onnx": ".onnx"}
NEEDED = ("onnx", "onnxscript")
"""Modules of the extra `onnx`; ONNX Runtime compares where it is there."""
TOLERANCES = {"torch": (1e-4, 1e-5), "onnx": (1e-4, 1e-4)}
"""Relative and absolute difference from the network, at the most."""
WHY_SHOWN = 200

log = logging.getLogger(__name__)


class Programs(NamedTuple):
    """What was written of a system.

    Attributes:
        written: files.
        left_out: why there is no file, by the name of what would be in it.
    """

    written: list[Path]
    left_out: dict[str, str]


class NotExported(Exception):
    """A network that the exporter cannot write; the message says why."""


class Logits(nn.Module):
    """A network that gives its logits alone, ``(N, K)`` or ``(N, T, K)``."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Any) -> Tensor:
        """Return the logits of features or frames, by stream where the network takes the streams apart."""
        logits: Tensor = self.network(inputs).logits
        return logits


class Feature(nn.Module):
    """A backbone that gives one of its features, ``(N, D)`` or ``(N, C, H, W)``, of frames ``(N, C, H, W)``."""

    def __init__(self, backbone: Backbone, name: str) -> None:
        super().__init__()
        self.backbone, self.name = backbone, name

    def forward(self, frames: Tensor) -> Tensor:
        """Return the feature of normalised frames."""
        return self.backbone.features(frames, self.name)


class ProgramWriter:
    """Writes networks into a folder, which is made, as programs of one form.

    Attributes:
        programs: what was written so far.

    Raises:
        UserError: what writes the form is not installed; the message names the extra.
    """

    def __init__(self, folder: Path, form: Form) -> None:
        missing = [name for name in NEEDED if form == "onnx" and find_spec(name) is None]
        if missing:
            raise UserError(f"ONNX needs {', '.join(missing)}; hint: pip install 'twostream[worker,onnx]'")
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._form = folder, form
        self.programs = Programs([], {})

    def write(self, name: str, network: nn.Module, inputs: Any) -> None:
        """Write a network under a name, or note why it cannot be written; see `write_program`."""
        path = self._folder / f"{name}{SUFFIXES[self._form]}"
        try:
            write_program(path, network, inputs, self._form)
        except NotExported as error:
            self.programs.left_out[name] = str(error)
        else:
            self.programs.written.append(path)


def write_program(path: Path, network: nn.Module, inputs: Any, form: Form = "torch") -> None:
    """Write a network as a program for inputs of the shape of these, on the processor.

    Raises:
        NotExported: the exporter has no form for a part of it.
        ValueError: the program, as it is read back, gives other numbers than the network.
    """
    network, inputs = network.cpu().eval(), to_device(inputs, torch.device("cpu"))
    with torch.no_grad(), warnings.catch_warnings():
        # PyTorch doubts weights that are parts of one storage, as an LSTM's: what is read back is compared below.
        warnings.filterwarnings("ignore", "No complete tensor found in the group")
        warnings.filterwarnings("ignore", r"The tensor attributes .*_flat_weights.* were assigned during export")
        found = _through_torch(path, network, inputs) if form == "torch" else _through_onnx(path, network, inputs)
        expected = network(inputs)
    relative, absolute = TOLERANCES[form]
    if found is not None and not torch.allclose(found, expected, rtol=relative, atol=absolute):
        path.unlink()
        difference = float((found - expected).abs().max())
        raise ValueError(f"{path.name}: the exported program differs from the network by {difference:g}")


def _through_torch(path: Path, network: nn.Module, inputs: Any) -> Tensor:
    try:
        program = torch.export.export(network, (inputs,), strict=False)
    except Exception as error:  # it has no one error for what it cannot write
        raise NotExported(" ".join(str(error).split())[:WHY_SHOWN]) from error
    torch.export.save(program, path)
    found: Tensor = torch.export.load(path).module()(inputs)
    return found


def _through_onnx(path: Path, network: nn.Module, inputs: Any) -> Tensor | None:
    """Write it, and return what ONNX Runtime makes of the file; None where that is not installed."""
    try:
        # The last argument would be taken for keywords if it is a mapping, as that of networks of both streams is.
        program = torch.onnx.export(network, (inputs, {}), dynamo=True, verbose=False)
    except torch.onnx.errors.OnnxExporterError as error:
        raise NotExported(" ".join(str(error.__cause__ or error).split())[:WHY_SHOWN]) from error
    assert program is not None
    program.save(path)
    if find_spec("onnxruntime") is None:
        log.warning("%s is not compared with its network: no onnxruntime is installed", path.name)
        return None
    session = import_module("onnxruntime").InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    given = dict(zip(names, (value.numpy() for value in pytree.tree_leaves(inputs)), strict=True))
    return torch.from_numpy(session.run(None, given)[0])
