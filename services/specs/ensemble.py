"""An ensemble: systems of other experiments, of recipes, and from elsewhere, whose scores are fused by clip."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from services.errors import refused
from services.specs.base import Spec
from services.specs.parts import ResourceSpec
from services.texts import Title

SystemStream = Literal["rgb", "flow", "two-stream"]
Rule = Literal["probabilities", "logits", "product"]
Key = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class MemberSpec(Spec):
    """One system of an ensemble: a stream of an experiment or of a recipe, or score files that a user brought."""

    experiment: Annotated[str, Field(pattern=r"^exp_[0-9a-f]{1,36}$")] | None = None
    """Id of an experiment on the same dataset, which has the ensemble's splits and seeds."""
    recipe: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    """Name of a recipe, which is planned on the ensemble's dataset, splits and seeds."""
    scores: Annotated[tuple[Key, ...], Field(max_length=3)] = ()
    """Ids of score files that `POST /scores` gave, one for each split; each stands for every seed, so that an
    ensemble of nothing else has one seed."""
    stream: SystemStream | None = None
    """Of the experiment or recipe; null for score files, which say their own."""
    weight: Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)] = 1.0
    """A share in a mean, an exponent in a product."""

    @model_validator(mode="after")
    def _one_source(self) -> MemberSpec:
        given = [name for name in ("experiment", "recipe", "scores") if getattr(self, name)]
        if len(given) != 1:
            raise refused("", given, "one of experiment, recipe and scores")
        if self.scores and self.stream is not None:
            raise refused("stream", self.stream, "null with scores, which say their own")
        if not self.scores and self.stream is None:
            raise refused("stream", None, "rgb, flow or two-stream of the experiment or recipe")
        return self


class EnsembleSpec(Spec):
    """Systems whose scores are fused, for each split and seed."""

    name: Title = "untitled"
    dataset: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    splits: Annotated[tuple[Annotated[int, Field(ge=1, le=3)], ...], Field(min_length=1, max_length=3)] = (1, 2, 3)
    members: Annotated[tuple[MemberSpec, ...], Field(min_length=1, max_length=16)]
    """One alone is score files that a user brought, which stand as a system of their own."""
    method: Rule = "probabilities"
    """`probabilities`: the mean after the softmax. `logits`: the mean before it. `product`: of probabilities, with
    weights as exponents; weights of 1 give the plain product."""
    seeds: Annotated[tuple[Annotated[int, Field(ge=0, lt=2**31)], ...], Field(min_length=1, max_length=20)] = (0,)
    priority: Annotated[int, Field(ge=0, le=100)] = 50
    """100 runs first."""
    refresh: bool = False
    """Register the dataset anew, as its next revision, if its lists have changed since; else that is refused."""
    resources: ResourceSpec = ResourceSpec()

    @model_validator(mode="after")
    def _checked(self) -> EnsembleSpec:
        for field in ("splits", "seeds"):
            values = getattr(self, field)
            if len(set(values)) != len(values):
                raise refused(field, list(values), "each value once")
        if len(self.members) == 1 and not self.members[0].scores:
            raise refused("members", 1, "2 to 16, or one that is score files")
        if len(self.seeds) > 1 and all(member.scores for member in self.members):
            raise refused("seeds", list(self.seeds), "one seed, since score files alone are the same with every seed")
        if not any(member.weight for member in self.members):
            raise refused("members.0.weight", 0.0, "above 0 for one member at the least")
        return self
