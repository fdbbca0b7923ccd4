"""What the weights of a fusion are worth, and how much of it is tuning."""

from __future__ import annotations

from typing import Annotated, Self

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict

from api.deps import BackendDep, Id
from services.errors import Conflict, StageError
from services.scores.fusions import SweptFusion, sweeps
from services.stores.artifacts import open_store

router = APIRouter(prefix="/experiments", tags=["experiments"])


class Point(BaseModel):
    """The share of a member, from 0 to 1, and the top-1 accuracy with it."""

    model_config = ConfigDict(from_attributes=True)

    weight: float
    top1: float


class FusionSweep(BaseModel):
    """The top-1 accuracy of one split and seed over the share of one member; the others share the rest.

    Attributes:
        systems: what is fused; ``member`` is the index of the one whose share is swept.
        declared: with the fusion's own weights.
        equal: with the same weight for all.
        best_on_test: chosen on the clips that it is measured on.
        held_out: each group of clips measured with the weight that is best on the other groups.
        held_out_weights: those weights.
        gain_on_test: of `best_on_test` over `equal`.
        gain_held_out: of `held_out` over `equal`.
        tuning: the part of the gain that is tuning on the test set, their difference.
    """

    split: int
    seed: int
    method: str
    systems: list[str]
    member: int
    curve: list[Point]
    declared: float
    equal: float
    best_on_test: Point
    held_out: float
    held_out_weights: list[float]
    groups: int
    gain_on_test: float
    gain_held_out: float
    tuning: float

    @classmethod
    def of(cls, found: SweptFusion) -> Self:
        """Shape a sweep."""
        own = ("split", "seed", "method", "systems", "member")
        numbers = {name: getattr(found.sweep, name) for name in cls.model_fields if name not in own}
        values = {name: getattr(found, name) for name in own} | numbers
        return cls.model_validate(values, from_attributes=True)


@router.get("/{experiment_id}/fusion/sweep")
def fusion_sweep(
    experiment_id: Id,
    backend: BackendDep,
    member: Annotated[int, Query(ge=-1, le=15)] = -1,
    split: Annotated[int | None, Query(ge=1, le=3)] = None,
    steps: Annotated[int, Query(ge=2, le=101)] = 21,
) -> list[FusionSweep]:
    """Return the accuracy over the share of a member (-1: the last), and how much of the best one's gain is tuning."""
    try:
        store = open_store(backend.settings)
        found = sweeps(backend.database, store, experiment_id, member=member, split=split, steps=steps)
    except StageError as error:
        raise Conflict(str(error)) from error
    return [FusionSweep.of(each) for each in found]
