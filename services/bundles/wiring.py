"""What a stage of a bundle may take, by the name of the input, and from what: a bundle may come from anywhere.

The planner wires the stages of an experiment; nobody has planned those of a file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from services.params import Frames, Params, StreamParams
from services.stages import ExtractParams, FuseParams, ScoreParams

WEIGHTS, FLOW, FEATURES, SCORES = "weights", "flow", "features", "scores"
MADE = {"flow": FLOW, "gpu_flow": FLOW, "extract": FEATURES, "score": SCORES, "fuse": SCORES}
"""What a stage of a kind that is run leaves."""
NO_FILES = frozenset({"none", "imagenet", "default"})
TRAINED = ("finetune", "train", "weights")
"""Names of inputs that are weights."""


def misfit(params: Params, inputs: Mapping[str, str], made: Mapping[str, str]) -> str | None:
    """Say what is wrong with the inputs of a stage that is run, or with a file that it names; None where nothing is.

    Args:
        params: its parameters.
        inputs: by name, whose each is.
        made: what each entry and each stage before it is: one of `WEIGHTS`, `FLOW`, `FEATURES`, `SCORES`.
    """
    file = next(_files(params.model_dump(mode="json")), None)
    if file is not None:
        return f"{file[0]}: got {file[1]!r}, which is a file, and no path in a bundle is opened"
    wanted = _wanted(params, inputs)
    for name, source in inputs.items():
        if name not in wanted:
            return f"its input {name} is none that it takes, allowed: {', '.join(wanted) or 'none'}"
        if made[source] != wanted[name]:
            return f"its input {name} is {source}, allowed: {wanted[name]}"
    trained = [name for name in inputs if name in TRAINED]
    return f"it has inputs {' and '.join(trained)}, allowed: one of them" if len(trained) > 1 else None


def missing(params: Params, inputs: Mapping[str, str]) -> str | None:
    """Return the name of an input without which a stage cannot be run; None where none lacks."""
    if isinstance(params, ScoreParams) and not inputs.keys() & {*TRAINED}:
        return "train"
    return next((name for name in _wanted(params, inputs) if name not in inputs and name not in TRAINED), None)


def _wanted(params: Params, inputs: Mapping[str, str]) -> dict[str, str]:
    """Return what a stage takes by the names of its inputs; those of `TRAINED` may be missing."""
    if isinstance(params, FuseParams):
        # By the name of the stream, one or several; an ensemble names its members.
        names = [member.name for member in params.members or ()] or [*inputs] or ["scores"]
        return dict.fromkeys(names[:1] if params.method == "features" else names, SCORES)
    if isinstance(params, ExtractParams):
        return {"finetune": WEIGHTS, "weights": WEIGHTS, **_frames(params)}
    if isinstance(params, ScoreParams):
        look = params.input
        features: dict[str, str] = dict.fromkeys(params.streams, FEATURES)
        seen = _frames(look) if isinstance(look, Frames) else features
        return {"train": WEIGHTS, "finetune": WEIGHTS, **seen}
    return {}


def _frames(params: StreamParams) -> dict[str, str]:
    return {"flow/0": FLOW} if params.stream == "flow" and params.flow is None else {}


def _files(content: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield the fields that name a file of weights."""
    for name, value in content.items() if isinstance(content, dict) else ():
        if name == "weights" and isinstance(value, str) and value not in NO_FILES:
            yield f"{path}{name}", value
        yield from _files(value, f"{path}{name}.")
