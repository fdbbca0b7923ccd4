"""The weights that a network starts from: those of other stages, or of a file of ours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from torch import Tensor, nn

from models import ConvNet
from models.backbones.weights import load_weights, misfits
from services.errors import UserError
from services.params import BackboneParams
from services.stages import TrainParams
from worker.contract import Task
from worker.stages.outputs import MODEL_FILE
from worker.stages.released import COUNTER, named_as_ours
from worker.stages.seen import Seen, read_seen
from worker.training import checkpoint
from worker.weights import read_state_dict

SHOWN = 3  # differing names that a message holds
CLASSIFIER = "classifier."
MOTION = {"gates.": "motion_gates.", "initial.": "motion_initial."}
"""Names of a `conv_lstm` and those of the bottom layer of a `video_lstm` (`models.VideoLSTM`)."""


class Start(NamedTuple):
    """What a network starts from.

    Attributes:
        seen: by the weights that were loaded.
        dropped: names of weights that were left out.
    """

    seen: Seen = Seen()
    dropped: tuple[str, ...] = ()


def start_convnet(task: Task, model: ConvNet) -> Start:
    """Load the weights of the stage that a fine-tuned ConvNet starts from, where there is one.

    Its classifier is kept where it has as many classes.

    Raises:
        UserError: they are another architecture's.
    """
    found = Start()
    for source in task.inputs:
        if source.name == "weights":
            state = checkpoint.load(source.path / MODEL_FILE)
            assert model.backbone is not None
            try:
                load_weights(model.backbone, state)
            except ValueError as error:
                raise UserError(f"backbone.weights: stage {source.key[:12]}: {error}") from error
            found = Start(read_seen(source.path / MODEL_FILE), _load_classifier(model, state))
    return found


def seen_by_file(params: BackboneParams) -> Seen:
    """Return what a backbone's first weights have seen of videos: nothing, or what a file says."""
    return Seen() if params.weights in {"none", "imagenet"} else read_seen(Path(params.weights))


def start_network(task: Task, params: TrainParams, model: nn.Module) -> Start:
    """Load the weights that a temporal network starts from, one over another: those of a file, then those of stages.

    Raises:
        UserError: they cannot be read, or are another network's.
    """
    seen, dropped = Seen(), dict[str, None]()
    if params.model.weights != "none":
        assert isinstance(params.model.weights, str)
        path = Path(params.model.weights)
        renamed = named_as_ours(model, read_state_dict(path, "model.weights"))
        dropped |= dict.fromkeys(load_network(model, renamed.state, source=str(path)))
        dropped |= dict.fromkeys(renamed.left_out)
        seen = seen.then(read_seen(path))
    for source in task.inputs:
        if source.name.startswith("model/"):
            into, path = source.name.rpartition("/")[2], source.path / MODEL_FILE
            state = checkpoint.load(path)
            dropped |= dict.fromkeys(load_network(model, state, into, source=f"stage {source.key[:12]}"))
            seen = seen.then(read_seen(path))
    return Start(seen, tuple(dropped))


def load_network(model: nn.Module, state: Mapping[str, Tensor], into: str = "all", source: str = "") -> tuple[str, ...]:
    """Load a trained network into all of another one or a part of it, and return the names of what is left out.

    That is a classifier of another number of classes, and of a network for the bottom layer `motion` all the rest.

    Raises:
        UserError: they are another network's.
    """
    own = model.state_dict()
    if into == "motion":
        given = {MOTION[name.partition(".")[0] + "."] + name.partition(".")[2]: value for name, value in state.items()
                 if name.partition(".")[0] + "." in MOTION}  # fmt: skip
    else:
        given = dict(state)
    dropped = tuple(name for name, value in given.items() if name in own and _of_other_classes(name, value, own[name]))
    loaded = {name: value for name, value in given.items() if name not in dropped}
    wrong = [f"{name} is unknown" for name in loaded if name not in own]
    wrong += [f"{name} has {what} {found}, expected {expected}" for name, value in loaded.items() if name in own
              for what, found, expected in misfits(value, own[name])]  # fmt: skip
    if into == "all":
        wrong += [f"{name} is missing" for name in own if name not in given and not name.endswith(COUNTER)]
    if wrong or not loaded:
        shown = "; ".join(wrong[:SHOWN]) or "nothing of it fits"
        raise UserError(f"model.weights: {source}: weights of another network: {shown}")
    model.load_state_dict(own | loaded)
    return dropped


def _load_classifier(model: ConvNet, state: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Load the classifier of a ConvNet of as many classes; return the names of what is left out of another one."""
    given = {name: value for name, value in state.items() if name.startswith(CLASSIFIER)}
    own = {name: value for name, value in model.state_dict().items() if name.startswith(CLASSIFIER)}
    if {name: value.shape for name, value in given.items()} != {name: value.shape for name, value in own.items()}:
        return tuple(given)
    model.load_state_dict(given, strict=False)
    return ()


def _of_other_classes(name: str, given: Tensor, own: Tensor) -> bool:
    """Say whether an entry is of a classifier of another number of classes, and differs in that alone."""
    return (
        f".{name}".rpartition(".")[0].endswith(".classifier")
        and given.shape != own.shape
        and given.shape[1:] == own.shape[1:]
    )
