"""Two systems clip by clip, several pair by pair, and heads against a baseline, from what Postgres holds."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import StringConstraints

from api.board import Split, Stream
from api.compare_shapes import Comparison, ControlledComparison, Gain, Several, Side, number_of
from api.deps import DatabaseDep, Name
from services.board import compare, controlled, several

router = APIRouter(prefix="/compare", tags=["compare"])

ID = r"exp_[0-9a-f]{1,36}"
Clips = Annotated[int, Query(ge=0, le=1000)]
Five = Annotated[str, StringConstraints(pattern=rf"^{ID}(,{ID}){{1,{several.MOST - 1}}}$")]
Ids = Annotated[str, StringConstraints(pattern=rf"^{ID}(,{ID}){{0,19}}$")]


@router.get("")
def comparison(
    *,
    database: DatabaseDep,
    left: Name,
    right: Name,
    dataset: Name | None = None,
    split: Split = "mean",
    stream: Stream = "two-stream",
    clips: Clips = 100,
    pool: bool = False,
) -> Comparison:
    """Compare a stream of two experiments, `left` and `right`, that were measured on the same clips.

    `clips` is how many of those are named that one alone gets right. `dataset` is a check. `pool` takes the seeds of
    finished experiments along that differ from one of the two in seeds alone.
    """
    with database.transaction() as session:
        found = compare.compare(
            session, left, right, dataset=dataset, split=number_of(split), stream=stream, clips=clips, pool=pool
        )
        return Comparison.of(found, split)


@router.get("/controlled")
def heads(
    *,
    database: DatabaseDep,
    baseline: Name,
    others: Ids,
    split: Split = "mean",
    stream: Stream = "two-stream",
) -> ControlledComparison:
    """Compare heads on the same features: `others`, up to 20 ids between commas, each with its gain over `baseline`."""
    ids = list(dict.fromkeys(others.split(",")))
    with database.transaction() as session:
        found = controlled.controlled(session, baseline, ids, split=number_of(split), stream=stream)
        row = found.baseline.system.result.row
        return ControlledComparison(
            dataset=row.dataset,
            revision=row.revision,
            split=split,
            stream=row.stream,
            baseline=Side.of(found.baseline),
            gains=[Gain.of(each) for each in found.gains],
            features=found.features,
            units=found.units,
            num_units=found.num_units,
        )


@router.get("/several")
def systems(
    *, database: DatabaseDep, experiments: Five, split: Split = "mean", stream: Stream = "two-stream"
) -> Several:
    """Compare a stream of `experiments`, two to five ids between commas, pair by pair, and class by class."""
    with database.transaction() as session:
        found = several.several(session, experiments.split(","), split=number_of(split), stream=stream)
        return Several.of(found, split)
