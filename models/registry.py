"""How a kind of network is published: its builder, and the features that it takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import nn

Features = Literal["vector", "map"]
Inputs = Literal["vector", "map", "rgb+flow"]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Kind:
    """One kind of network.

    Attributes:
        build: takes ``num_classes``, ``feature_dim`` (vector features) or ``feature_shape`` (all others), and options.
        inputs: ``vector`` features ``(N, T, D)`` and ``map`` features ``(N, T, C, H, W)`` of one stream, or of several
            concatenated on D or C; ``rgb+flow`` takes a mapping with the features of both streams apart.
        streams: of ``rgb+flow``, the features of each stream.
    """

    build: Callable[..., nn.Module]
    inputs: Inputs = "vector"
    streams: Mapping[str, Features] = field(default_factory=dict)


def feature_arguments(kind: Kind, feature_shape: Shape | Mapping[str, Shape]) -> dict[str, Any]:
    """Return the feature arguments of a kind's builder.

    Raises:
        ValueError: if features of another form are given than the kind takes.
    """
    if kind.inputs == "rgb+flow":
        if not isinstance(feature_shape, Mapping) or set(feature_shape) != set(kind.streams):
            raise ValueError(f"features: got {feature_shape}, allowed: a shape for each of {sorted(kind.streams)}")
        _require_axes(feature_shape, kind.streams)
        return {"feature_shape": {name: tuple(shape) for name, shape in feature_shape.items()}}
    if isinstance(feature_shape, Mapping):
        wrong = f"features: got {feature_shape}, allowed: the shape of one {kind.inputs}"
        raise ValueError(wrong)  # noqa: TRY004 - both forms are allowed, of another kind
    _require_axes({"features": feature_shape}, {"features": kind.inputs})
    if kind.inputs == "vector":
        return {"feature_dim": feature_shape[0]}
    return {"feature_shape": tuple(feature_shape)}


def _require_axes(shapes: Mapping[str, Shape], features: Mapping[str, str]) -> None:
    for name, shape in shapes.items():
        expected = "(D,)" if features[name] == "vector" else "(C, H, W)"
        if len(shape) != (1 if features[name] == "vector" else 3):
            raise ValueError(f"{name}: got shape {tuple(shape)} without N and T, allowed: {expected}")
