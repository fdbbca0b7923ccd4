"""The page of two experiments side by side: a form with their ids, and what `GET /compare` says of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, get_args
from urllib.parse import urlencode

from fastapi import Request
from fastapi.responses import HTMLResponse

from api.board import Split, Stream
from api.compare import comparison
from api.deps import DatabaseDep
from api.web.fields import Text, worded
from api.web.negotiation import Pages
from api.web.templates import page
from services.board import results
from services.db.engine import Session
from services.metrics import METRICS, PRIMARY

STREAMS: tuple[Stream, ...] = ("two-stream", "rgb", "flow")
"""The first one that both have is compared."""
SPLITS: tuple[Split, ...] = get_args(Split)
CLIPS = 20
"""Clips that are named of those which one alone gets right, of each experiment."""

router = Pages()


@router.get("/compare", response_class=HTMLResponse)
def compare(
    *,
    request: Request,
    database: DatabaseDep,
    left: Text = "",
    right: Text = "",
    split: Literal["", Split] = "",
    stream: Literal["", Stream] = "",
) -> HTMLResponse:
    """Render two experiments side by side; without `stream` or `split`, the first that both have."""
    query = {"left": left.strip(), "right": right.strip(), "stream": stream, "split": split}
    context: dict[str, Any] = {"query": query, "streams": STREAMS, "splits": SPLITS, "found": None}
    if query["left"] and query["right"]:
        with database.transaction() as session:
            chosen = _chosen(session, **query)
        found = comparison(
            database=database, left=query["left"], right=query["right"], clips=CLIPS, stream=chosen[0], split=chosen[1]
        )
        context |= {
            "found": found,
            "differs": [(each.field, worded(each.left), worded(each.right)) for each in found.differs],
            "share": METRICS[PRIMARY],
            "gain_query": urlencode(
                {"baseline": found.left.experiment_id, "stream": found.stream}
                | ({} if found.split == "mean" else {"split": found.split})
            ),
        }
    return page(request, "compare.html", context)


def _chosen(session: Session, left: str, right: str, stream: str, split: str) -> tuple[Stream, Split]:
    """Return the first stream and split that both have of those wanted; where there is none, what is wanted."""
    common = set(_there(session, left)) & set(_there(session, right))
    wanted = [(each, number) for each in STREAMS if stream in ("", each) for number in SPLITS if split in ("", number)]
    return next((place for place in wanted if place in common), wanted[0])


def _there(session: Session, experiment_id: str) -> Iterator[tuple[str, str]]:
    """Yield streams and splits of which an experiment has a number."""
    for each in results.listing(session, experiment_id):
        if each.row.seed is None and not each.row.missing_splits:
            yield each.row.stream, "mean" if each.row.split is None else str(each.row.split)
