"""The leaderboard: measured results only, one protocol at a time."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from api.board import Leaderboard, Metric, Split, Stream
from api.deps import DatabaseDep, Name
from services import registry
from services.board import leaderboard
from services.board.choice import SelectedOnTest
from services.board.cursor import CURSOR
from services.metrics import PRIMARY

router = APIRouter(tags=["leaderboard"])


@router.get("/leaderboard")
def board(
    *,
    database: DatabaseDep,
    dataset: Name,
    split: Split = "mean",
    stream: Stream = "two-stream",
    metric: Metric = PRIMARY,
    protocol: Name | None = None,
    revision: Annotated[int, Query(ge=1, lt=2**31)] | None = None,
    selected_on_test: SelectedOnTest = "exclude",
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: Annotated[str | None, Query(pattern=f"^{CURSOR}$")] = None,
) -> Leaderboard:
    """Rank a dataset's results; without `protocol`, those of the protocol with the most entries.

    Ranked together is what was measured on the same lists and clips: the present ones, or those of `revision`.
    `split=mean` ranks the means over all splits of the dataset; entries that lack one are listed as incomplete.
    Entries whose epoch was chosen on the test list are ranked among the others with `selected_on_test=flag` alone.
    """
    with database.transaction() as session:
        found = leaderboard.rank(
            session,
            dataset=registry.chosen(session, dataset).name,
            split=None if split == "mean" else int(split),
            stream=stream,
            metric=metric,
            protocol=protocol,
            revision=revision,
            selected_on_test=selected_on_test,
            limit=limit,
            cursor=cursor,
        )
    return Leaderboard.of(found)
