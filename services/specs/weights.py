"""Where first weights come from: nowhere, a library, a file, or a stage that trains them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from services.errors import refused
from services.specs.base import Spec, Stream

Part = Literal["backbone", "model"]
Name = Annotated[str, Field(min_length=1, max_length=100)]


class StageWeights(Spec):
    """Weights that a stage of this experiment, or of another one, trains or has trained.

    The stage is planned into the experiment that names it, with all that it needs, and shared by all that need it: it
    runs where it never did, where it failed, and where its output was evicted. A classifier of another number of
    classes is dropped.
    """

    experiment: Name | None = None
    """Id of the experiment whose stage it is. Without this and `recipe` it is a stage of the very experiment that names
    it, and `stream` or `part` says which."""
    recipe: Name | None = None
    """Name of the recipe whose stage it is."""
    dataset: Name | None = None
    """On which the recipe is trained; none for the recipe's own."""
    split: Annotated[int, Field(ge=1, le=3)] | None = None
    """On which it is trained; none for the split of the network that starts from it."""
    stream: Stream | None = None
    """Which it sees; none for the stream of the network that starts from it."""
    part: Part | None = None
    """`backbone` is the ConvNet that `finetune` trains, `model` the network that `train` trains. None is `backbone` in
    `backbone.weights`, where `model` stands for the ConvNet that was trained end to end with a network, and `model` in
    `model.weights`, which takes no other."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    """With which it is trained; none for the first of that experiment or recipe, and in the same experiment for that of
    the network that starts from it."""

    @model_validator(mode="after")
    def _is_of_one(self) -> StageWeights:
        if self.experiment is not None and self.recipe is not None:
            raise refused("experiment", self.experiment, "null with recipe: one of the two")
        if self.is_own and self.stream is None and self.part is None:
            allowed = "the id of an experiment, or recipe in place of it, or stream or part of this very experiment"
            raise refused("experiment", self.experiment, allowed)
        if self.recipe is None and self.dataset is not None:
            raise refused("dataset", self.dataset, "null without recipe: an experiment has its own")
        return self

    @property
    def is_own(self) -> bool:
        """Whether the stage is one of the experiment that names it."""
        return self.experiment is None and self.recipe is None


class NetworkWeights(StageWeights):
    """Weights of a trained network, for all of another one or for a part of it."""

    into: Literal["all", "motion", "appearance"] = "all"
    """What of a `video_lstm` starts from them: `all`, or as its released code assembles it, the bottom layer `motion`
    from a `conv_lstm` of flow, and `appearance`, all but the bottom layer and what joins the two, from a
    `conv_alstm` of rgb."""

    @model_validator(mode="after")
    def _is_a_network(self) -> NetworkWeights:
        if self.part == "backbone":
            raise refused("part", self.part, "model in weights of a network")
        return self


NetworkParts = Annotated[tuple[NetworkWeights, ...], Field(min_length=1, max_length=4)]


def _form(value: object) -> str:
    """Name the branch of a union by the form of a value, so that an error is of that branch alone."""
    return "StageWeights" if isinstance(value, Mapping | StageWeights) else "text"


def _network_form(value: object) -> str:
    if isinstance(value, list | tuple):
        return "list"
    return "NetworkWeights" if isinstance(value, Mapping | StageWeights) else "text"


BackboneWeights = Annotated[
    Annotated[str, Field(min_length=1, max_length=1000), Tag("text")] | Annotated[StageWeights, Tag("StageWeights")],
    Discriminator(_form),
]
"""`none`, `imagenet`, a file, or a stage."""
ModelWeights = Annotated[
    Annotated[str, Field(min_length=1, max_length=1000), Tag("text")]
    | Annotated[NetworkWeights, Tag("NetworkWeights")]
    | Annotated[NetworkParts, Tag("list")],
    Discriminator(_network_form),
]
"""`none`, a file, a stage, or several stages whose weights are laid over one another in their order."""
