"""Ensembles of what is there already."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict

from api.deps import BackendDep, Name
from services.board.choice import SelectedOnTest
from services.planning.suggestion import Suggested, suggest
from services.stores.artifacts import open_store

router = APIRouter(prefix="/ensembles", tags=["experiments"])

MOST_SECONDS = 10.0


class Member(BaseModel):
    """A system that may be a member: a stream of an experiment, or scores that a user brought.

    Attributes:
        name: of the experiment or of the file.
        top1: of the system alone, on the test clips.
    """

    experiment: str | None
    stream: str | None
    scores: str | None
    name: str
    top1: float


class LeftOut(BaseModel):
    """A system that cannot be a member, and why."""

    experiment: str | None
    stream: str | None
    scores: str | None
    name: str
    reason: str


class Size(BaseModel):
    """The top-1 accuracy of the greedy ensemble of so many members.

    Attributes:
        added: place among the candidates of the one that came last, from 0.
        on_test: on the clips on which the members were chosen.
        held_out: each fold of groups measured with members that were chosen on the other folds.
    """

    model_config = ConfigDict(from_attributes=True)

    members: int
    added: int
    on_test: float
    held_out: float


class EnsembleSuggestion(BaseModel):
    """A greedy ensemble of the finished streams of one dataset, split and seed.

    Attributes:
        candidates: among which it was chosen, the newest first.
        chosen_on: the clips; no stage keeps scores of clips that are held out of training.
        curve: by number of members.
        size: how many are suggested: the fewest with the highest accuracy of held-out folds.
        members: the suggested ones, in the order in which they were added.
        gain_on_test: of the suggested over the best single one, on the clips on which both were chosen.
        gain_held_out: with members that were chosen on other folds.
        tuning: the part of the gain that is choosing on the test clips, their difference.
        complete: whether the time allowed for all sizes.
        spec: a body for `POST /experiments`; null where one system alone is suggested.
    """

    dataset: str
    split: int
    seed: int
    method: str
    chosen_on: Literal["groups of test clips"] = "groups of test clips"
    groups: int
    folds: int
    candidates: list[Member]
    left_out: list[LeftOut]
    curve: list[Size]
    size: int
    members: list[Member]
    gain_on_test: float
    gain_held_out: float
    tuning: float
    complete: bool
    spec: dict[str, Any] | None

    @classmethod
    def of(cls, suggested: Suggested) -> Self:
        """Shape a suggestion."""
        found = suggested.found
        named = ("experiment", "stream", "scores", "name")
        candidates = [
            Member(**{name: getattr(each, name) for name in named}, top1=top1)
            for each, top1 in zip(suggested.candidates, found.alone, strict=True)
        ]
        left_out = [
            LeftOut(**{name: getattr(each, name) for name in named}, reason=reason)
            for each, reason in suggested.left_out
        ]
        return cls(
            **{name: getattr(suggested, name) for name in ("dataset", "split", "seed", "method", "spec")},
            **{name: getattr(found, name) for name in ("groups", "folds", "size", "complete")},
            **{name: getattr(found, name) for name in ("gain_on_test", "gain_held_out", "tuning")},
            candidates=candidates,
            left_out=left_out,
            curve=[Size.model_validate(each) for each in found.curve],
            members=[candidates[at] for at in found.members],
        )


@router.get("/suggest")
def suggestion(
    *,
    backend: BackendDep,
    dataset: Name,
    split: Annotated[int, Query(ge=1, le=3)] = 1,
    seed: Annotated[int, Query(ge=0, lt=2**31)] = 0,
    method: Literal["probabilities", "logits", "product"] = "probabilities",
    members: Annotated[int, Query(ge=1, le=16)] = 5,
    selected_on_test: SelectedOnTest = "exclude",
) -> EnsembleSuggestion:
    """Suggest an ensemble of finished streams: greedily, up to so many `members`, with equal weights.

    Members are chosen on groups of the test clips and measured on other groups; what the gain on the clips on which
    they were chosen is more than that is tuning. Nothing is submitted: `spec` is what would be. Streams whose epoch was
    chosen on the test list are candidates with `selected_on_test=flag` alone.
    """
    store = open_store(backend.settings)
    found = suggest(
        backend.database,
        store,
        dataset,
        split=split,
        seed=seed,
        method=method,
        most=members,
        seconds=MOST_SECONDS,
        selected_on_test=selected_on_test,
    )
    return EnsembleSuggestion.of(found)
