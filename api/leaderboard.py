"""The leaderboard: measured results only, one protocol at a time unless a request says which of its fields may vary."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Request, Response

from api import conditional
from api.board import Leaderboard, Metric, Origin, Split, Stream
from api.board_tables import as_csv, as_latex, as_markdown
from api.deps import BackendDep, Name
from services import registry
from services.board import leaderboard
from services.board.choice import SelectedOnTest
from services.board.entries import Filters
from services.board.network import KINDS
from services.board.protocol import VARIABLE
from services.board.published import published as published_of
from services.board.version import require_measured, version
from services.db.engine import Session
from services.errors import InvalidRequest
from services.metrics import PRIMARY

router = APIRouter(tags=["leaderboard"])

Format = Literal["json", "csv", "markdown", "latex"]
TYPES: Mapping[Format, str] = {
    "json": "application/json",
    "csv": "text/csv",
    "markdown": "text/markdown",
    "latex": "application/x-latex",
}
WRITERS: Mapping[Format, Callable[[Leaderboard], str]] = {
    "json": Leaderboard.model_dump_json,
    "csv": as_csv,
    "markdown": as_markdown,
    "latex": as_latex,
}
TEXT: dict[str, Any] = {"schema": {"type": "string"}}
TAG = {"description": "of this answer; sent back as `If-None-Match`", **TEXT}
LINK = {
    "description": 'the next page, `<...>; rel="next"` (RFC 8288); absent on the last',
    "schema": {"type": "string"},
}
ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {media: TEXT for name, media in TYPES.items() if name != "json"},
        "headers": {"ETag": TAG, "Link": LINK},
    },
    304: {"description": "nothing has changed since the answer of `If-None-Match`", "headers": {"ETag": TAG}},
}
MODELS = sorted({str(kind.model_fields["kind"].default) for kind in KINDS} | {"ensemble", "ensemble (uploaded)"})
FIELD = f"({'|'.join(name.replace('.', '[.]') for name in VARIABLE)})"
LIST = f"^{FIELD}(,{FIELD})*$"
SHAPE = hashlib.sha256(repr(Leaderboard.model_json_schema()).encode()).hexdigest()


@router.get("/leaderboard", response_model=Leaderboard, responses=ANSWERS)
def board(
    *,
    request: Request,
    backend: BackendDep,
    dataset: Name,
    split: Split = "mean",
    stream: Stream = "two-stream",
    metric: Metric = PRIMARY,
    model: Annotated[Name | None, Query(json_schema_extra={"enum": MODELS})] = None,
    protocol: Name | None = None,
    vary: Annotated[Name | None, Query(json_schema_extra={"pattern": LIST})] = None,
    seeds: Annotated[int | None, Query(ge=1, le=1000)] = None,
    source: Origin | None = None,
    revision: Annotated[int, Query(ge=1, lt=2**31)] | None = None,
    selected_on_test: SelectedOnTest = "exclude",
    published: bool = False,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
    format: Format | None = None,  # noqa: A002 - the name of the parameter
    accept: Annotated[str, Header(include_in_schema=False)] = "*/*",
) -> Response:
    """Rank a dataset's results; without `protocol`, those of the protocol with the most entries.

    Ranked together is what was measured on the same lists and clips: the present ones, or those of `revision`.
    `split=mean` ranks the means over all splits of the dataset; entries that lack one are listed as incomplete.
    Entries whose epoch was chosen on the test list are ranked among the others with `selected_on_test=flag` alone.
    `vary` names fields of protocols, separated by commas: what differs in these alone is ranked together, and each
    entry shows its own.

    Entries can be left out by `model`, the kind of network; by `seeds`, over how many at the least the value is a mean;
    and by `source`: `trained` here, an `ensemble` of such, or `uploaded` for what has scores that were computed
    elsewhere.

    `published` adds what the papers print of the same dataset, split, stream and metric, in a list of its own: by other
    protocols than those here, and never ranked.

    `format`, or the header `Accept`, asks for JSON, CSV, Markdown or LaTeX; in the last two the best value is bold.
    """
    form = format or _acceptable(accept)
    with backend.database.transaction() as session:
        now = version(session, dataset)
        if now is None:
            registry.chosen(session, dataset)  # says which there are
        tag = conditional.etag(SHAPE, now, form, sorted(request.query_params.multi_items()))
        if conditional.is_known(request, tag):
            return conditional.not_modified(tag)
        if model is not None and model not in MODELS:
            raise InvalidRequest("model", model, ", ".join(MODELS))
        query: dict[str, Any] = {
            "dataset": dataset,
            "split": None if split == "mean" else int(split),
            "stream": stream,
            "metric": metric,
            "protocol": protocol,
            "vary": vary.split(",") if vary else (),
            "revision": revision,
            "selected_on_test": selected_on_test,
            "filters": Filters(model, source, seeds),
            "limit": limit,
            "cursor": cursor,
        }
        body, following = backend.boards.get(tag, lambda: _made(session, query, form, printed=published))
    if conditional.any_will_do(request):
        return conditional.not_modified(tag)
    headers = conditional.headers(tag)
    if following is not None:
        url = request.url.include_query_params(cursor=following)
        headers["Link"] = f'<{url.path}?{url.query}>; rel="next"'
    return Response(body, media_type=TYPES[form], headers=headers)


def _made(session: Session, query: Mapping[str, Any], form: Format, *, printed: bool) -> tuple[bytes, str | None]:
    """Return the answer, and where the next page begins."""
    board = leaderboard.rank(session, **query)
    if query["protocol"] is not None and not board.rows and not board.incomplete:
        require_measured(session, query["protocol"], board.other_protocols)
    beside = published_of(board.dataset, board.split, board.stream, board.metric) if printed else None
    found = Leaderboard.of(board, beside)
    return WRITERS[form](found).encode(), found.next_cursor


def _acceptable(accept: str) -> Format:
    """Return the format that a client likes best; JSON where it likes none of ours better."""
    liked: list[tuple[float, Format]] = []
    for entry in accept.lower().split(","):
        media, *parameters = (part.strip() for part in entry.split(";"))
        weight = _weight(next((part[2:] for part in parameters if part.startswith("q=")), "1"))
        for name, own in TYPES.items():
            if weight > 0 and media in (own, "*/*", f"{own.partition('/')[0]}/*"):
                liked.append((weight, name))
    return max(liked, key=lambda each: each[0], default=(0.0, "json"))[1]


def _weight(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
