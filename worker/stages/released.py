"""Names of weights that other programs wrote, as networks of ours have them.

TSN's PyTorch code files its ConvNet under ``base_model.`` and its classifier under ``new_fc.`` or, where it drops no
features, under the ConvNet's own last layer; DataParallel puts ``module.`` before all.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from models.backbones import Backbone

PARALLEL, CONVNET, CLASSIFIER = "module.", "base_model.", "new_fc."
COUNTER = "num_batches_tracked"
"""Of batch norms: older files lack it, and no forward pass with a momentum reads it."""


def named_as_ours(model: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict under the names of a network of ours, as far as it has those of TSN's code."""
    bare = {name.removeprefix(PARALLEL): value for name, value in state.items()}
    found = next(((name, part) for name, part in model.named_modules() if isinstance(part, Backbone)), None)
    if found is None or not any(name.startswith(CONVNET) for name in bare):
        return bare
    return dict(_entry(*found, name, value) for name, value in bare.items())


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
