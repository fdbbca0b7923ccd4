"""Weights of TS-LSTM's released code, a Torch7 model, as `models.TSLSTM` has them.

Torch7 names no parameters: a converter files each tensor under the path of its module, counted from 0, such as
``1.0.0.weight`` for the scale of the first segment's batch norm. How many containers stand around a module differs
between versions of Torch's rnn library, the order of the modules does not: a batch norm for each segment, the LSTMs,
a batch norm, a linear layer (``RNN/model.lua`` of chihyaoma/Activity-Recognition-with-CNN-and-RNN). An LSTM's gates
stand in the order forget, input, candidate, output (``LSTM.lua`` of Element-Research/rnn), each with a linear layer of
the input, one of the state and, but for the candidate, the peephole from the cell, for which PyTorch's LSTM has no
place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

ENTRY = re.compile(r"(?P<path>\d+(?:\.\d+)*)\.(?P<tensor>weight|bias|running_mean|running_var)")
Kind = Literal["norm", "linear", "peephole", "other"]
GATE: tuple[Kind, ...] = ("linear", "linear", "peephole")
LSTM: tuple[Kind, ...] = (*GATE, *GATE, "linear", "linear", *GATE)
FORGET, INPUT, CANDIDATE, OUTPUT = 0, 3, 6, 8
"""Where each gate's modules begin among those of an LSTM."""
NORM = ("weight", "bias", "running_mean", "running_var")
Module = dict[str, Tensor]


def from_torch7(state: Mapping[str, Tensor], segments: int) -> tuple[dict[str, Tensor], tuple[str, ...]] | None:
    """Return a state dict under the names of a TS-LSTM, and the names of the peepholes, which are left out.

    Args:
        state: by the paths of its modules.
        segments: S of the network.

    Returns:
        None where it is not such a model's.
    """
    modules = _modules(state)
    layers = (len(modules) - segments - 2) // len(LSTM)
    if layers < 1 or [*map(_kind, modules.values())] != _expected(segments, layers):
        return None
    paths, found = [*modules], [*modules.values()]
    ours = _named("norm", found[-2]) | _named("classifier", found[-1])
    peepholes: list[str] = []
    try:
        ours |= _stacked("input_norm", found[:segments])
        for number in range(layers):
            first = segments + number * len(LSTM)
            ours |= _lstm(f"layers.{number}", found[first : first + len(LSTM)])
            peepholes += [f"{paths[first + place]}.weight" for place, kind in enumerate(LSTM) if kind == "peephole"]
    except RuntimeError:  # tensors that are not of one shape
        return None
    return ours, tuple(peepholes)


def _modules(state: Mapping[str, Tensor]) -> dict[str, Module]:
    """Return the tensors by module, in the order of the modules; nothing where a name is none of Torch7's."""
    found: dict[str, Module] = {}
    for name, value in state.items():
        entry = ENTRY.fullmatch(name)
        if entry is None:
            return {}
        found.setdefault(entry["path"], {})[entry["tensor"]] = value
    return dict(sorted(found.items(), key=lambda each: [*map(int, each[0].split("."))]))


def _kind(module: Module) -> Kind:
    if module.keys() == set(NORM):
        return "norm"
    if module.keys() == {"weight", "bias"} and module["weight"].ndim == 2:
        return "linear"
    return "peephole" if module.keys() == {"weight"} else "other"


def _expected(segments: int, layers: int) -> list[Kind]:
    first: list[Kind] = ["norm"] * segments
    return [*first, *LSTM * layers, "norm", "linear"]


def _named(name: str, module: Module) -> Module:
    return {f"{name}.{tensor}": value for tensor, value in module.items()}


def _stacked(name: str, modules: Sequence[Module]) -> Module:
    return {f"{name}.{tensor}": torch.stack([module[tensor] for module in modules]) for tensor in NORM}


def _lstm(name: str, modules: Sequence[Module]) -> Module:
    """Return an LSTM's layers in PyTorch's order of gates: input, forget, candidate, output."""
    order = (INPUT, FORGET, CANDIDATE, OUTPUT)
    return {
        f"{name}.{tensor}_{side}_l0": torch.cat([modules[gate + place][tensor] for gate in order])
        for place, side in enumerate(("ih", "hh"))
        for tensor in ("weight", "bias")
    }
