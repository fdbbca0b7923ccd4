"""What a plan is made of: a stage with its label, and how the stage is found whose weights a network takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from services.errors import InvalidRequest
from services.params import BackboneParams
from services.specs import BackboneSpec, ExperimentSpec, NetworkPart, Part, StageWeights, Stream
from services.stages import StageSpec


class Place(NamedTuple):
    """One of the repetitions of an experiment."""

    split: int
    seed: int

    def __str__(self) -> str:
        return f"split {self.split}, seed {self.seed}"


@dataclass(frozen=True)
class PlannedStage:
    """A stage with the words by which people know it, such as ``train rgb, split 1, seed 0``."""

    spec: StageSpec
    key: str
    label: str


class Wanted(NamedTuple):
    """What a network takes of a stage that trains weights, where its spec leaves it open."""

    part: Part
    streams: tuple[Stream, ...]
    place: Place

    def streams_of(self, weights: StageWeights) -> tuple[Stream, ...]:
        """Return which streams the stage sees."""
        return self.streams if weights.stream is None else (weights.stream,)


def own_place(field: str, weights: StageWeights, wanted: Wanted, spec: ExperimentSpec) -> Place:
    """Return the split and seed of the stage of this very experiment whose weights are meant.

    Raises:
        InvalidRequest: the experiment has no such split or seed.
    """
    seed = wanted.place.seed if weights.seed is None else weights.seed
    place = Place(weights.split or wanted.place.split, seed)
    for name, value, there in (("split", place.split, spec.splits), ("seed", place.seed, spec.seeds)):
        if value not in there:
            raise InvalidRequest(f"{field}.{name}", value, ", ".join(map(str, there)))
    return place


@contextmanager
def no_circle(going: list[str], field: str, weights: StageWeights, name: str) -> Iterator[None]:
    """Note a stage as one that is being planned; refuse weights that would start from themselves.

    Args:
        going: the stages that are being planned, each because the one before takes its weights.
        field: of the spec, which names the weights.
        weights: that are named.
        name: of the stage that leaves them.
    """
    if name in going:
        circle = " from ".join((*going[going.index(name) :], name))
        given = weights.model_dump(mode="json", exclude_unset=True)
        raise InvalidRequest(field, given, f"weights that do not start from themselves: {circle}")
    going.append(name)
    try:
        yield
    finally:
        going.pop()


def label_of(network: NetworkPart, place: Place) -> str:
    """Return what people call the training of a network."""
    way = " fine-tuned" if network.model.is_finetuned else "" if network.end_to_end is None else " end to end"
    return f"{network.model.kind} {'+'.join(network.streams)}{way}, {place}"


def as_trained(backbone: BackboneSpec) -> BackboneParams:
    """Return a backbone whose weights come from another stage."""
    return BackboneParams(name=backbone.name, normalization=backbone.normalization)


def network_of(field: str, spec: ExperimentSpec, streams: tuple[Stream, ...]) -> NetworkPart:
    """Return the network of some streams, or else the first that sees the first of them.

    Raises:
        InvalidRequest: the spec has no such stream.
    """
    exact = [network for network in spec.networks if network.streams == streams]
    found = exact or [network for network in spec.networks if streams[0] in network.streams]
    if not found:
        raise InvalidRequest(f"{field}.stream", streams[0], ", ".join(spec.streams))
    return found[0]


def require_trained(field: str, network: NetworkPart, part: Part, stream: Stream, words: str) -> None:
    """Refuse a part that nothing trains.

    Args:
        field: of the weights.
        network: whose part it is.
        part: that is wanted.
        stream: of the backbone.
        words: what has the network.
    """
    if part == "backbone":
        if network.backbones[stream].finetune is None:
            raise InvalidRequest(f"{field}.part", part, f"model, since {words} has no backbone.finetune")
    elif network.model.is_finetuned:
        raise InvalidRequest(f"{field}.part", part, f"backbone, since {words} trains nothing after it")


Sources = Callable[[str, StageWeights, Wanted], tuple[PlannedStage, ...]]
"""Finds the stage that trains weights, by field of the spec, weights, and what is wanted; it is the last returned."""


def no_sources(field: str, weights: StageWeights, _: Wanted) -> tuple[PlannedStage, ...]:
    """Refuse weights of a stage, where nobody can look for it.

    Raises:
        InvalidRequest: always.
    """
    raise InvalidRequest(field, weights.recipe or weights.experiment, "none, imagenet or a file")
