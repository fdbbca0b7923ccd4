"""Names of weights that other programs wrote, as networks of ours have them.

- TSN's PyTorch code files its ConvNet under ``base_model.`` and its classifier under ``new_fc.`` or, where it drops no
  features, under the ConvNet's own last layer.
- VideoLSTM's Theano code: `worker.stages.released_theano`.
- TS-LSTM's Torch7 code: `worker.stages.released_torch7`.

What wrappers put before all names is taken away (`models.backbones.weights.PREFIXES`). What has another form keeps its
name, so that whoever loads it can say what is unknown and what is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor, nn

from models.backbones import Backbone
from models.backbones.weights import bare
from models.ts_lstm import TSLSTM
from worker.stages.released_theano import from_theano
from worker.stages.released_torch7 import from_torch7

CONVNET, CLASSIFIER = "base_model.", "new_fc."
COUNTER = "num_batches_tracked"
"""Of batch norms: older files lack it, and no forward pass with a momentum reads it."""


class Renamed(NamedTuple):
    """A state dict under our names.

    Attributes:
        state: tensors by name.
        left_out: names, as the file has them, of what our network has no place for.
    """

    state: dict[str, Tensor]
    left_out: tuple[str, ...] = ()


def named_as_ours(model: nn.Module, state: Mapping[str, Tensor]) -> Renamed:
    """Return a state dict under the names of a network of ours, as far as it has those of a released code."""
    given = bare(state)
    theano = from_theano(given)
    if theano is not None:
        return Renamed(theano)
    torch7 = from_torch7(given, model.segments) if isinstance(model, TSLSTM) else None
    if torch7 is not None:
        return Renamed(*torch7)
    found = next(((name, part) for name, part in model.named_modules() if isinstance(part, Backbone)), None)
    if found is None or not any(name.startswith(CONVNET) for name in given):
        return Renamed(given)
    return Renamed(dict(_entry(*found, name, value) for name, value in given.items()))


def _entry(place: str, backbone: Backbone, name: str, value: Tensor) -> tuple[str, Tensor]:
    above = place.rpartition(".")[0]
    classifier = f"{above}.classifier." if above else "classifier."
    if name.startswith(CLASSIFIER):
        return classifier + name.removeprefix(CLASSIFIER), value
    if not name.startswith(CONVNET):
        return name, value
    inner = name.removeprefix(CONVNET)
    if inner.startswith(backbone.head):
        return classifier + inner.rpartition(".")[2], value
    ours, value = backbone.translate(inner, value)
    return f"{place}.network.{ours}", value
