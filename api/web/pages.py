"""The front page: the leaderboard, chosen by a plain form, and the latest experiments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse
from markupsafe import Markup

from api import conditional
from api.board import Leaderboard, Metric, Origin, Split, Stream
from api.deps import BackendDep
from api.leaderboard import MODELS
from api.shapes import Experiment
from api.web.fields import Number, Text
from api.web.templates import page, part
from services import registry
from services.board import leaderboard
from services.board.choice import SelectedOnTest
from services.board.cursor import CURSOR
from services.board.entries import Filters
from services.board.kept import Memory
from services.board.version import version
from services.db.engine import Session
from services.errors import InvalidRequest
from services.metrics import METRICS, PRIMARY
from services.queue import experiments

RECENT = 10
SPLIT_NAMES = {"mean": "mean over splits", "1": "split 1", "2": "split 2", "3": "split 3"}
ON_TEST_NAMES = {"exclude": "left out", "flag": "ranked, and said"}
FILES = {
    words: {"limit": "1000", "format": form}
    for form, words in (("csv", "CSV"), ("markdown", "Markdown"), ("latex", "LaTeX"), ("json", "JSON"))
}
"""By its name, what asks for the board as a file."""
STREAM_NAMES = {"two-stream": "two-stream", "rgb": "RGB", "flow": "optical flow"}

router = APIRouter(include_in_schema=False)


def page_size() -> int:
    """Return how many entries of a leaderboard stand on one page."""
    return 100


@router.get("/", response_class=HTMLResponse)
def front(
    *,
    request: Request,
    backend: BackendDep,
    dataset: Text = "",
    split: Split = "mean",
    stream: Stream = "two-stream",
    metric: Metric = PRIMARY,
    protocol: Text = "",
    model: Text = "",
    source: Literal["", Origin] = "",
    seeds: Annotated[str, Query(pattern=r"^([1-9]\d{0,2}|1000)?$")] = "",
    selected_on_test: SelectedOnTest = "exclude",
    revision: Number = "",
    cursor: Annotated[str, Query(pattern=f"^({CURSOR})?$")] = "",
    limit: Annotated[int, Depends(page_size)],
) -> HTMLResponse:
    """Render a page of the leaderboard; without a dataset, that of the latest experiment."""
    if model and model not in MODELS:
        raise InvalidRequest("model", model, ", ".join(MODELS))
    query = {
        "split": split,
        "stream": stream,
        "metric": metric,
        "protocol": protocol,
        "revision": revision,
        "model": model,
        "source": source,
        "seeds": seeds,
        "selected_on_test": selected_on_test,
    }
    with backend.database.snapshot() as session:  # what is kept under a version is what it was at that version
        names = [row.name for row in registry.listing(session)]
        latest = experiments.page(session, limit=RECENT, count_to=0)
        counts = experiments.counts(session, [row.id for row in latest.items])
        query["dataset"] = dataset or _default_dataset(names, [row.dataset for row in latest.items])
        tag = conditional.etag(version(session, query["dataset"]), sorted(query.items()), names, limit, cursor)
        ranking = backend.rankings.get(tag, lambda: _ranking(session, backend.memory, query, names, limit, cursor))
    context = {
        "ranking": ranking,
        "dataset": query["dataset"],
        "more": latest.next_cursor is not None,
        "recent": [Experiment.of(row, counts[row.id]) for row in latest.items],
        "split_name": SPLIT_NAMES[split],
        "stream_name": STREAM_NAMES[stream],
    }
    return page(request, "leaderboard.html", context)


def _ranking(
    session: Session, memory: Memory, query: Mapping[str, str], names: Sequence[str], limit: int, cursor: str
) -> Markup:
    """Return the form and the board that it asks for, which are the same for all until a result changes."""
    board = leaderboard.rank(
        session,
        dataset=query["dataset"],
        split=None if query["split"] == "mean" else int(query["split"]),
        stream=query["stream"],
        metric=query["metric"],
        protocol=query["protocol"] or None,
        revision=int(query["revision"]) if query["revision"] else None,
        selected_on_test="flag" if query["selected_on_test"] == "flag" else "exclude",
        filters=Filters(query["model"] or None, query["source"] or None, int(query["seeds"] or 0) or None),
        limit=limit,
        cursor=cursor or None,
        memory=memory,
    )
    shaped = Leaderboard.of(board)
    query = {name: value for name, value in query.items() if value}
    context = {
        "board": shaped,
        "splits": sorted({name for entry in shaped.rows for name in entry.splits}) if shaped.split == "mean" else [],
        "choices": _choices(shaped, names, query),
        "query": query,
        "files": {words: f"/leaderboard?{urlencode(query | file)}" for words, file in FILES.items()},
        "metric": METRICS[shaped.metric],
        "best": shaped.rows[0].experiment_id if len(shaped.rows) > 1 and shaped.rows[0].rank == 1 else None,
        "split_name": SPLIT_NAMES[shaped.split],
        "stream_name": STREAM_NAMES[shaped.stream],
    }
    return part("_ranking.html", context)


def _default_dataset(names: Sequence[str], recent: Sequence[str]) -> str:
    return next(iter((*recent, *names)), "")


def _choices(board: Leaderboard, datasets: Sequence[str], query: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the selectors of the form: label, name, chosen value, and options as value and words."""
    protocols = {"": "the most used", **{name: name for name in (board.protocol, *board.other_protocols) if name}}
    numbers = sorted({str(board.revision), *board.other_revisions}, key=int)
    revisions = {"": "the present one", **{number: f"revision {number}" for number in numbers}}
    choices = [
        _choice("Dataset", "dataset", board.dataset, {name: name for name in (*datasets, board.dataset) if name}),
        _choice("Split", "split", board.split, {name: SPLIT_NAMES[name] for name in get_args(Split)}),
        _choice("Stream", "stream", board.stream, STREAM_NAMES),
        _choice("Metric", "metric", board.metric, {name: found.title for name, found in METRICS.items()}),
        _choice("Protocol", "protocol", query.get("protocol", ""), protocols),
        _choice("Network", "model", query.get("model", ""), {"": "any"} | {name: name for name in MODELS}),
        _choice("Source", "source", query.get("source", ""), {"": "any"} | {name: name for name in get_args(Origin)}),
        _choice("Chosen on test", "selected_on_test", query["selected_on_test"], ON_TEST_NAMES),
    ]
    if len(numbers) < 2 and not board.superseded:
        return choices
    return [*choices, _choice("Lists and clips", "revision", query.get("revision", ""), revisions)]


def _choice(label: str, name: str, chosen: str, options: dict[str, str]) -> dict[str, Any]:
    return {"label": label, "name": name, "chosen": chosen, "options": options}
