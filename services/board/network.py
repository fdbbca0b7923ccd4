"""What the network of an entry is, beyond its kind: by which options it differs from the kind's defaults."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, get_args

from services.specs import ModelSpec, Network

KINDS: tuple[type[Network], ...] = get_args(get_args(ModelSpec)[0])
DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    made.model_dump()["kind"]: made.model_dump(mode="json") for made in (kind() for kind in KINDS)
}
"""Every option of every kind, as a stored spec has them."""
NO_OPTIONS = frozenset({"kind", "classifier", "weights"})
"""They say how a network gets its weights."""


def options(model: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the options of a stored network that differ from the defaults of its kind; a kind of before has none."""
    model = model or {}
    usual = DEFAULTS.get(model.get("kind", ""))
    if usual is None:
        return {}
    named = [name for name in dict.fromkeys((*usual, *sorted(model))) if name in model and name not in NO_OPTIONS]
    return {name: model[name] for name in named if model[name] != usual.get(name, NO_OPTIONS)}


def label(kind: str, own: Mapping[str, Any], beside: Mapping[str, Any] | None = None) -> str:
    """Word a network, such as ``ts_lstm (hidden 1024, segments 5)``, and the flow stream's own one beside it."""
    words = ", ".join(f"{name} {_word(value)}" for name, value in own.items())
    line = f"{kind} ({words})" if words else kind
    return line if beside is None else f"{line} + {label(beside['kind'], options(beside))}"


def _word(value: Any) -> str:
    if isinstance(value, list) and len(value) == 1:
        return _word(value[0])
    return value if isinstance(value, str) else json.dumps(value)


def filed(params: Mapping[str, Any]) -> str:
    """Return as which stream the scores of a stage's network are filed; of rgb, where flow steers one of it."""
    own, streams = params.get("model", {}).get("kind"), params["streams"]
    if any(kind.sees_both and kind.model_fields["kind"].default == own for kind in KINDS):
        return "rgb"
    return str(streams[0]) if len(streams) == 1 else "two-stream"
