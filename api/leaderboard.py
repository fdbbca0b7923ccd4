"""The leaderboard: measured results only, one protocol at a time unless a request says which of its fields may vary."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Coroutine, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool

from api import conditional
from api.authentication import require_reader
from api.board import Entry, Format, Leaderboard, Metric, Origin, Split, Stream
from api.board_tables import as_csv, as_latex, as_markdown
from api.deps import Backend, BackendDep, Name
from services import registry
from services.board import leaderboard
from services.board.choice import SelectedOnTest
from services.board.entries import Filters
from services.board.network import KINDS
from services.board.protocol import VARIABLE
from services.board.published import published as published_of
from services.board.version import require_measured, version
from services.db.engine import Session
from services.errors import InvalidRequest, nearest
from services.metrics import PRIMARY

Made = tuple[bytes, str | None]
"""An answer, and where the next page begins."""
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


class KnownQuestion(APIRoute):
    """Answers what was asked in the same words before by a look at the version of its board, as long as that holds.

    The words were found sound then; only who asks is looked at again.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers a request: the whole route, where nothing shorter does."""
        whole = super().get_route_handler()

        async def answer(request: Request) -> Response:
            backend: Backend = request.app.state.backend
            asked = backend.asked.get(_words(request))
            if asked is not None and conditional.is_plain(request):
                await require_reader(request, backend)
                found = await run_in_threadpool(_again, request, backend, *asked)
                if found is not None:
                    return found
            return await whole(request)

        return answer


router = APIRouter(tags=["leaderboard"], route_class=KnownQuestion)


def require_model(kind: str | None) -> None:
    """Refuse a kind of network that none is of: a list without entries would hide a slip."""
    if kind is not None and kind not in MODELS:
        raise InvalidRequest("model", kind, nearest(kind, MODELS))


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
    require_model(model)
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
    with backend.database.snapshot() as session:  # what is kept under a version is exactly what it was at that version
        now = version(session, dataset)
        if now is None:
            registry.chosen(session, dataset)  # says which there are
        backend.asked.note(_words(request), (dataset, form))
        tag = _tag(request, now, form)
        if conditional.is_known(request, tag):
            return conditional.not_modified(tag)
        found = backend.boards.get(tag, lambda: _made(session, query, form, backend, printed=published))
    return _answer(request, tag, form, found)


def _words(request: Request) -> tuple[bytes, str | None]:
    """Return all of a request that its answer depends on."""
    return request.scope["query_string"], request.headers.get("accept")


def _tag(request: Request, now: str | None, form: str) -> str:
    return conditional.etag(SHAPE, now, form, sorted(request.query_params.multi_items()))


def _again(request: Request, backend: Backend, dataset: str, form: Format) -> Response | None:
    """Return the answer to a question that was answered before; None where it is to be made anew."""
    with backend.database.glance() as connection:
        now = version(connection, dataset)
    tag = _tag(request, now, form)
    if now is not None and conditional.is_known(request, tag):
        return conditional.not_modified(tag)
    found = backend.boards.there(tag)
    return None if found is None else _answer(request, tag, form, found)


def _answer(request: Request, tag: str, form: Format, found: Made) -> Response:
    body, following = found
    if conditional.any_will_do(request):
        return conditional.not_modified(tag)
    headers = conditional.headers(tag)
    if following is not None:
        url = request.url.include_query_params(cursor=following)
        headers["Link"] = f'<{url.path}?{url.query}>; rel="next"'
    return Response(body, media_type=TYPES[form], headers=headers)


def _made(session: Session, query: Mapping[str, Any], form: Format, backend: Backend, *, printed: bool) -> Made:
    """Return the answer, and where the next page begins."""
    board = leaderboard.rank(session, memory=backend.memory, **query)
    if query["protocol"] is not None and not board.rows and not board.incomplete:
        require_measured(session, query["protocol"], board.other_protocols)
    beside = published_of(board.dataset, board.split, board.stream, board.metric) if printed else None
    found = Leaderboard.of(board, beside, lambda standing: backend.entries.get(standing, Entry.of))
    return WRITERS[form](found).encode(), found.next_cursor


def _acceptable(accept: str) -> Format:
    """Return the format that a client likes best; JSON where it likes none of ours.

    Of the ranges that a format is in, the most exact one says how well it is liked (RFC 9110, sec. 12.5.1); of formats
    that are liked alike the first named is taken.
    """
    ranges: list[tuple[str, float]] = []
    for entry in accept.lower().split(","):
        media, *parameters = (part.strip() for part in entry.split(";"))
        ranges.append((media, _weight(next((part[2:] for part in parameters if part.startswith("q=")), "1"))))
    liked: list[tuple[float, int, Format]] = []
    for name, own in TYPES.items():
        for exact in (own, f"{own.partition('/')[0]}/*", "*/*"):
            place = next((place for place, (media, _) in enumerate(ranges) if media == exact), None)
            if place is not None:
                liked.append((ranges[place][1], -place, name))
                break
    wanted = [each for each in liked if each[0] > 0]
    return max(wanted, key=lambda each: each[:2], default=(0.0, 0, "json"))[2]


def _weight(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
