"""The page of two to five experiments side by side: a form with their ids, and what sets them apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlencode

from fastapi import Query, Request
from fastapi.responses import HTMLResponse
from pydantic import StringConstraints

from api.board import Split, Stream
from api.compare import comparison, systems
from api.compare_shapes import Side
from api.deps import DatabaseDep
from api.web.chart import Chart, charts
from api.web.fields import Text, worded
from api.web.negotiation import Pages
from api.web.templates import page
from services.board import results
from services.board.several import FEWEST, MOST
from services.db.engine import Database, Session
from services.errors import InvalidRequest
from services.journal import overlay
from services.metrics import METRICS, PRIMARY
from services.texts import PLAIN

STREAMS: tuple[Stream, ...] = ("two-stream", "rgb", "flow")
"""The first one that all have is compared."""
SPLITS: tuple[Split, ...] = get_args(Split)
CLIPS = 20
"""Clips that are named of those which one alone gets right, of each of two experiments."""
CLASSES = 20
"""Classes that are shown of those on which three or more differ."""
LETTERS = "ABCDE"

Ticked = Annotated[list[Annotated[str, StringConstraints(max_length=200, pattern=PLAIN)]], Query()]

router = Pages()


@router.get("/compare", response_class=HTMLResponse)
def compare(
    *,
    request: Request,
    database: DatabaseDep,
    experiment: Ticked = [],  # noqa: B006 - read alone
    left: Text = "",
    right: Text = "",
    split: Literal["", Split] = "",
    stream: Literal["", Stream] = "",
) -> HTMLResponse:
    """Render experiments side by side; without `stream` or `split`, the first that all have.

    `left` and `right` are two of the experiments, under the names that `GET /compare` has.
    """
    given = " ".join((left, right, *experiment)).replace(",", " ")
    ids = list(dict.fromkeys(given.split()))
    if len(ids) > MOST:
        raise InvalidRequest("experiment", f"{len(ids)} experiments", f"{FEWEST} to {MOST} at once")
    empty = [""] * (max(len(ids) + 1, FEWEST) - len(ids))
    context: dict[str, Any] = {
        "ids": [*ids, *empty][:MOST],
        "letters": LETTERS,
        "query": {"stream": stream, "split": split},
        "streams": STREAMS,
        "splits": SPLITS,
        "found": None,
        "share": METRICS[PRIMARY],
        "metrics": METRICS,
    }
    if len(ids) >= FEWEST:
        with database.transaction() as session:
            chosen = _chosen(session, ids, stream, split)
        context |= (_two if len(ids) == FEWEST else _more)(database, ids, *chosen)
        context["charts"] = _curves(database, context["sides"], *chosen)
        context["pictures"] = _pictures(context["sides"], *chosen)
    return page(request, "compare.html", context)


def _chosen(session: Session, ids: Sequence[str], stream: str, split: str) -> tuple[Stream, Split]:
    """Return the first stream and split that all have of those wanted; where there is none, what is wanted."""
    common = set.intersection(*results.places(session, ids).values())
    wanted = [(each, number) for each in STREAMS if stream in ("", each) for number in SPLITS if split in ("", number)]
    there = ((each, number) for each, number in wanted if (each, None if number == "mean" else int(number)) in common)
    return next(there, wanted[0])


def _two(database: Database, ids: Sequence[str], stream: Stream, split: Split) -> dict[str, Any]:
    """Return what sets two apart, clip by clip."""
    left, right = ids
    found = comparison(database=database, left=left, right=right, clips=CLIPS, stream=stream, split=split)
    differs = [(each.field, (worded(each.left), worded(each.right))) for each in found.differs]
    return {"found": found, "sides": [("Left", found.left), ("Right", found.right)], "differs": differs, "two": True}


def _more(database: Database, ids: Sequence[str], stream: Stream, split: Split) -> dict[str, Any]:
    """Return what sets three or more apart, pair by pair."""
    found = systems(database=database, experiments=",".join(ids), stream=stream, split=split)
    letter_of = dict(zip((side.experiment_id for side in found.systems), LETTERS, strict=False))
    return {
        "found": found,
        "sides": list(zip(LETTERS, found.systems, strict=False)),
        "differs": [(each.field, tuple(map(worded, each.values))) for each in found.differs],
        "letter_of": letter_of,
        "classes": [each for each in found.classes[:CLASSES] if max(each.values) > min(each.values)],
        "two": False,
    }


def _curves(database: Database, sides: Sequence[tuple[str, Side]], stream: Stream, split: Split) -> list[Chart]:
    """Return the curves of all, one hue an experiment, a pair of charts a stream."""
    names = {side.experiment_id: f"{words}: {side.name}" for words, side in sides}
    number = None if split == "mean" else int(split)
    with database.transaction() as session:
        found = overlay.laid_over(session, names, stream=stream, split=number)
    return [chart for streams, curves in found.items() for chart in charts(curves, list(names.values()), streams)]


def _pictures(sides: Sequence[tuple[str, Side]], stream: Stream, split: Split) -> list[Mapping[str, str]]:
    """Return the differences of confusions over the first, and of two also the gain by class."""
    (first, baseline), *others = sides
    query = {"baseline": baseline.experiment_id, "stream": stream} | ({} if split == "mean" else {"split": split})
    of = [("confusion-difference", "Confusion of {} less that of {}")]
    if len(others) == 1:
        of.insert(0, ("gain", "Gain of {} over {} by class"))
    return [
        {
            "id": side.experiment_id,
            "name": name,
            "title": title.format(f"{words}, {side.name}", first),
            "query": urlencode(query),
        }
        for words, side in others
        for name, title in of
    ]
