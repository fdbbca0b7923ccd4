"""Weights of VideoLSTM's released code, Theano's shared variables under their own names, as our networks have them.

The code names a variable by the class and number of its layer, ``ConvLSTMLayer-0.W_xi``, and numbers the layers from
input to output: what gives first states, a recurrence, a tanh layer, a classifier (`sparnn/layers` and `ucf101/` of
zhenyangli/VideoLSTM). Its files are pickles of whole models, which nothing here runs; where they open,
``{variable.name: variable.get_value() for variable in model.param}`` is the state dict that is read here.

Theano differs from PyTorch in three ways: its convolution turns kernels round, its products have the weight on the
right, ``(in, out)``, and it flattens maps with the channels slowest.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

VARIABLE = re.compile(r"(?P<layer>\w*Layer-(?P<number>\d+))\.\w+")
GATES = "ifoc"
"""Input, forget, output, candidate: the order of `models.recurrence.gates`."""
PYTORCH_GATES = "ifco"
ATTENTION = {
    "feature_weight": "Wc_att",
    "hidden_weight": "Wd_att",
    "bias": "b_att",
    "score_weight": "U_att",
    "score_bias": "c_att",
}
VECTOR_LSTM = "LSTMLayer-"
"""The one recurrence that is PyTorch's LSTM here (`models.LSTM`)."""


def from_theano(state: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """Return a state dict under our names; what has no place in it keeps its own. None where it is another program's.

    It fits `lstm` (with ``batch_norm: false`` and ``fc_dim``), `alstm`, `conv_lstm`, `conv_alstm`, `motion_alstm` and
    `video_lstm`.
    """
    layers = {int(match["number"]): match["layer"] for name in state if (match := VARIABLE.fullmatch(name))}
    recurrent = [number for number, layer in layers.items() if {f"{layer}.W_xi", f"{layer}.W_pred_xi"} & set(state)]
    if len(recurrent) != 1:
        return None
    [place] = recurrent
    entries = _Entries(state)
    before = [layer for number, layer in sorted(layers.items()) if number < place]
    after = [layer for number, layer in sorted(layers.items()) if number > place]
    found = dict(_recurrence(entries, layers[place]))
    for name, pair in (("initial", before[:2]), ("motion_initial", before[2:4])):
        found |= _together(entries, f"{name}.layer", pair)
    kernel = found.get("gates.hidden_weight")
    maps = 0 if kernel is None or kernel.ndim < 4 else kernel.shape[1]  # channels of the state
    for name, layer in zip(("classifier.fc", "classifier.classifier"), after, strict=False):
        found |= _together(entries, name, [layer], channels=maps if name == "classifier.fc" else 0)
    return found | entries.left


class _Entries:
    """Tensors of a file, which are taken out as they find their places.

    Attributes:
        left: what was not taken, by its own name.
    """

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        self.left = dict(state)

    def take(self, *names: str) -> list[Tensor]:
        """Take tensors of one shape, in PyTorch's layout; none, and all stay, where one is missing or differs."""
        found = [self.left[name] for name in names if name in self.left]
        if len(found) != len(names) or len({value.shape for value in found}) != 1:
            return []
        for name in names:
            del self.left[name]
        return [_as_pytorch(value) for value in found]


def _as_pytorch(value: Tensor) -> Tensor:
    """Return a kernel turned round, a matrix transposed, a vector as it is."""
    return value.flip(2, 3) if value.ndim == 4 else value.t() if value.ndim == 2 else value


def _recurrence(entries: _Entries, layer: str) -> Iterator[tuple[str, Tensor]]:
    if layer.startswith(VECTOR_LSTM):
        yield from _pytorch_lstm(entries, layer)
        return
    deep = f"{layer}.W_pred_xi" in entries.left
    yield from _gates(entries, layer, "gates", "pred_" if deep else "")
    if deep:
        yield from _gates(entries, layer, "motion_gates", "infer_")
        top = entries.take(*(f"{layer}.W_infer_c{gate}" for gate in GATES))
        if top:
            yield "top_weight", torch.cat(top)
    for ours, theirs in ATTENTION.items():
        for value in entries.take(f"{layer}.{theirs}"):
            yield f"attention.{ours}", value


def _gates(entries: _Entries, layer: str, into: str, part: str) -> Iterator[tuple[str, Tensor]]:
    for ours, theirs in (("input_weight", f"W_{part}x"), ("hidden_weight", f"W_{part}h"), ("bias", f"b_{part}")):
        found = entries.take(*(f"{layer}.{theirs}{gate}" for gate in GATES))
        if found:
            yield f"{into}.{ours}", torch.cat(found)


def _pytorch_lstm(entries: _Entries, layer: str) -> Iterator[tuple[str, Tensor]]:
    for ours, theirs in (("weight_ih", "W_x"), ("weight_hh", "W_h"), ("bias_ih", "b_")):
        found = entries.take(*(f"{layer}.{theirs}{gate}" for gate in PYTORCH_GATES))
        if found:
            yield f"layers.0.{ours}_l0", torch.cat(found)
            if ours == "bias_ih":  # PyTorch has two a gate, Theano's code one
                yield "layers.0.bias_hh_l0", torch.zeros_like(torch.cat(found))


def _together(entries: _Entries, into: str, layers: list[str], channels: int = 0) -> dict[str, Tensor]:
    """Return the layers as one of ours, their outputs one after another; flattened maps of C channels turned."""
    found = {}
    for ours, theirs in (("weight", "W"), ("bias", "b")):
        values = entries.take(*(f"{layer}.{theirs}" for layer in layers)) if layers else []
        if values:
            value = torch.cat(values)
            if channels and ours == "weight" and value.shape[1] % channels == 0:
                value = (
                    value.reshape(len(value), channels, -1).transpose(1, 2).flatten(1)
                )  # (out, C H W) to (out, H W C)
            found[f"{into}.{ours}"] = value
    return found
