"""State dicts of published formats, and of our own networks, loaded into a backbone."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from models.backbones.base import Backbone

SHOWN = 3  # differing names that a message holds
WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "module")
"""Under which training scripts file a state dict: timm's and TSN's, those of PyTorch's tutorials, DeepSpeed's."""
DEEPEST = 3  # wrappers that lie in one another
OWN = re.compile(r"(?:^|\.)backbone\.network\.")
"""Up to the end of which a name of ours says where in a network the backbone lies."""
PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.")
"""Put before all names: by DataParallel and `torch.compile`, and for the field of a script's class."""
CONVNET = "base_model."  # of TSN's networks
AVERAGED = "n_averaged"  # what `torch.optim.swa_utils.AveragedModel` counts beside the weights


def load_weights(backbone: Backbone, state: Mapping[str, Any]) -> None:
    """Copy a library's state dict into a backbone, its first convolution fitted and its classifier left out.

    One of ours, of a network around a backbone of the same architecture, gives what it has of the backbone.

    Raises:
        ValueError: if names or shapes differ; the message holds the first that do, of the backbone's own names only.
    """
    found = _of_backbone(bare(unwrapped(state)))
    entries = [backbone.translate(name.removeprefix(CONVNET), value) for name, value in found.items()]
    given = {name: value for name, value in entries if not name.startswith(backbone.head)}
    own = backbone.network.state_dict()
    kernel = given.get(backbone.first_conv)
    if kernel is not None and kernel.ndim == 4 and kernel.shape[1] == 3 and backbone.format.channels != 3:
        given[backbone.first_conv] = cross_modality(kernel, backbone.format.channels)
    differing = differences(own, given)
    if differing:
        raise ValueError(f"weights of another architecture: {first_of(differing)}")
    backbone.network.load_state_dict(given, strict=False)  # only batch counters may lack


def _of_backbone(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the entries of the backbone in a state dict of a network of ours, under the library's names."""
    found = {name[match.end() :]: value for name, value in state.items() if (match := OWN.search(name))}
    return found or state


def unwrapped(content: Any) -> Any:
    """Return the state dict itself where a training script filed it with its epoch and optimiser; else the content."""
    for _ in range(DEEPEST):
        inner = [content[name] for name in WRAPPERS if isinstance(content, Mapping) and name in content]
        content = next((value for value in inner if isinstance(value, Mapping)), content)
    return content


def bare(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return a state dict without what wrappers put before all of its names, one around another."""
    found = {name: value for name, value in state.items() if name != AVERAGED}
    while found and (prefix := next((each for each in PREFIXES if all(name.startswith(each) for name in found)), "")):
        found = {name.removeprefix(prefix): value for name, value in found.items()}
    return found


def cross_modality(kernel: Tensor, channels: int) -> Tensor:
    """Average an rgb kernel ``(O, 3, h, w)`` over colour and repeat it, unscaled: ``(O, channels, h, w)`` (TSN)."""
    return kernel.mean(1, keepdim=True).repeat(1, channels, 1, 1)


def first_of(differing: Sequence[str]) -> str:
    """Word the first of some `differences`."""
    more = f" and {len(differing) - SHOWN} more" if len(differing) > SHOWN else ""
    return f"{'; '.join(differing[:SHOWN])}{more}"


def differences(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> list[str]:
    """Say which names are missing or of another shape, in the network's order, and how many are unknown."""
    # Older files lack the batch counters of batch norm, which no forward pass with a momentum reads.
    missing = [f"{name} is missing" for name in own if name not in given and not name.endswith("num_batches_tracked")]
    shapes = [
        f"{name} has {what} {found}, expected {expected}"
        for name, value in own.items()
        if name in given
        for what, found, expected in misfits(given[name], value)
    ]
    unknown = len(given.keys() - own.keys())
    return missing + shapes + ([f"other names are unknown: {unknown}"] if unknown else [])


def misfits(given: Tensor, own: Tensor) -> list[tuple[str, object, object]]:
    """Say what keeps a tensor from being copied into another: the precision may differ, not shape and kind of type."""
    found: list[tuple[str, object, object]] = []
    if given.shape != own.shape:
        found.append(("shape", list(given.shape), list(own.shape)))
    elif given.is_floating_point() != own.is_floating_point():
        found.append(("type", given.dtype, own.dtype))
    return found
