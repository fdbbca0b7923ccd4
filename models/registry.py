"""How a kind of network is published: its class, the features that it takes, and its options."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import nn

from models.parts.options import Count, require

Features = Literal["vector", "map"]
Inputs = Literal["vector", "map", "rgb+flow"]
Shape = tuple[int, ...]

AXES: Mapping[Features, str] = {"vector": "(D,)", "map": "(C, H, W)"}
GIVEN = {"num_classes", "feature_dim", "feature_shape"}
"""Arguments of a network that are no options: ``build`` gives them from its own."""


@dataclass(frozen=True)
class NetworkKind:
    """One kind of network.

    Attributes:
        network: takes ``num_classes``, ``feature_dim`` (vector features) or ``feature_shape`` (all others), and its
            options.
        inputs: ``vector`` features ``(N, T, D)`` and ``map`` features ``(N, T, C, H, W)`` of one stream, or of several
            concatenated on D or C; ``rgb+flow`` takes a mapping with the features of both streams apart.
        streams: of ``rgb+flow``, the features of each stream.
    """

    network: type[nn.Module]
    inputs: Inputs = "vector"
    streams: Mapping[str, Features] = field(default_factory=dict)

    @property
    def options(self) -> Mapping[str, inspect.Parameter]:
        """The options of the network by name, each with its type and its default."""
        parameters = inspect.signature(self.network, eval_str=True).parameters
        return {name: parameter for name, parameter in parameters.items() if name not in GIVEN}


def require_options(kind: str, known: Mapping[str, inspect.Parameter], options: Mapping[str, object]) -> None:
    """Check the options of a network of a kind against those that it has.

    Raises:
        TypeError: if the network has no such option.
        ValueError: if a value is not allowed.
    """
    for name, value in options.items():
        if name not in known:
            raise TypeError(f"option of {kind}: got {name!r}, allowed: {', '.join(known)}")
        require(name, value, known[name].annotation)


def feature_arguments(kind: NetworkKind, feature_shape: Shape | Mapping[str, Shape] | None) -> dict[str, Any]:
    """Return the feature arguments of a kind's network.

    Raises:
        ValueError: if features of another form are given than the kind takes.
    """
    if kind.inputs == "rgb+flow":
        if not isinstance(feature_shape, Mapping) or set(feature_shape) != set(kind.streams):
            raise ValueError(f"feature_shape: got {feature_shape}, allowed: a shape for each of {sorted(kind.streams)}")
        shapes = {
            name: _shape(f"feature_shape of {name}", feature_shape[name], form) for name, form in kind.streams.items()
        }
        return {"feature_shape": shapes}
    shape = _shape("feature_shape", feature_shape, kind.inputs)
    return {"feature_dim": shape[0]} if kind.inputs == "vector" else {"feature_shape": shape}


def _shape(name: str, shape: object, form: Features) -> Shape:
    """Return a shape without N and T, which has the axes of its form."""
    axes = 1 if form == "vector" else 3
    if not isinstance(shape, Sequence) or isinstance(shape, str) or len(shape) != axes:
        raise ValueError(f"{name}: got {shape}, allowed: {AXES[form]} of a {form}, without N and T")
    for size in shape:
        require(name, size, Count)
    return tuple(shape)
