"""What a plan is made of: a stage with its label, and how the stage is found whose weights a network takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from services.errors import InvalidRequest
from services.specs import Part, StageWeights, Stream
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
    split: int

    def streams_of(self, weights: StageWeights) -> tuple[Stream, ...]:
        """Return which streams the stage sees."""
        return self.streams if weights.stream is None else (weights.stream,)


Sources = Callable[[str, StageWeights, Wanted], tuple[PlannedStage, ...]]
"""Finds the stage that trains weights, by field of the spec, weights, and what is wanted; it is the last returned."""


def no_sources(field: str, weights: StageWeights, _: Wanted) -> tuple[PlannedStage, ...]:
    """Refuse weights of a stage, where nobody can look for it.

    Raises:
        InvalidRequest: always.
    """
    raise InvalidRequest(field, weights.recipe or weights.experiment, "none, imagenet or a file")
