"""The papers: what they print, what was measured of it here, and the launch of what is missing."""

from __future__ import annotations

from typing import Annotated, Any, Self

from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ValidationError

from api.authentication import SubmitterDep
from api.deps import BackendDep, BrokerDep, DatabaseDep, Id, JsonBody
from api.experiments import SUBMISSION_FIELDS
from api.field_errors import InvalidFields, body_of, checked, translate
from api.figures import picture
from api.paper_launch import LaunchAnswer, LaunchRequest, as_asked
from api.paper_shapes import FilledTable, Paper, PaperFigure, Papers, PaperSummary
from services import figures, papers
from services.board import paper_table
from services.figures import paper_curves
from services.figures import papers as paper_figures
from services.figures.canvas import MEDIA_TYPES, Format, Theme
from services.papers import PaperData, PrintedFigure
from services.planning.launch import Launcher
from services.stores.artifacts import open_store

router = APIRouter(prefix="/papers", tags=["papers"])


class DrawnFigure(BaseModel):
    """A figure of a paper that is drawn from what was measured here; `rows` are those behind which experiments stand.

    Attributes:
        svg: where it is.
        png: likewise.
    """

    name: str
    title: str
    rows: list[str]
    svg: str
    png: str

    @classmethod
    def of(cls, paper: str, figure: paper_figures.PaperFigure) -> Self:
        """Shape a figure."""
        base = f"/papers/{paper}/figures/{figure.name}"
        rows = [f"table {row.table}: {row.row}" for row in figure.rows]
        return cls(name=figure.name, title=figure.title, rows=rows, svg=f"{base}.svg", png=f"{base}.png")


class PaperFigures(BaseModel):
    """The figures of a paper."""

    items: list[DrawnFigure]


DRY: dict[int | str, dict[str, Any]] = {
    200: {"model": LaunchAnswer, "description": "with `dry_run`: what a launch would do; nothing is queued"}
}


@router.get("")
async def listing() -> Papers:
    """List the papers and their tables."""
    return Papers(items=[PaperSummary.of(paper) for paper in papers.PAPERS.values()])


@router.get("/{paper}")
async def detail(paper: Id) -> Paper:
    """Return a paper with its misprints, and what it leaves open."""
    return Paper.whole(papers.named_paper(paper))


@router.get("/{paper}/tables/{table}")
def filled(paper: Id, table: Id, database: DatabaseDep) -> FilledTable:
    """Return a table as it is printed, as corrected, and as measured here, with what is missing."""
    data = papers.named_paper(paper)
    named = papers.named_table(data, table)
    with database.transaction() as session:
        lines = paper_table.filled(session, data.name, named.name)
    return FilledTable(
        paper=data.name,
        table=named.name,
        title=named.title,
        printed=len(lines),
        own=sum(line.figure.own for line in lines),
        measured=sum(line.measured is not None for line in lines),
        rows=[PaperFigure.of(line) for line in lines],
    )


@router.get("/{paper}/figures")
async def drawable(paper: Id) -> PaperFigures:
    """List the figures of a paper that are drawn from what was measured here."""
    found = paper_figures.listing(papers.named_paper(paper))
    return PaperFigures(items=[DrawnFigure.of(paper, figure) for figure in found])


@router.get(
    "/{paper}/figures/{name}.{form}",
    response_class=Response,
    responses={200: {"description": "the picture", "content": {kind: {} for kind in MEDIA_TYPES.values()}}},
)
def drawn(
    *,
    paper: Id,
    name: Id,
    form: Format,
    backend: BackendDep,
    clip: Annotated[str | None, Query(min_length=1, max_length=300)] = None,
    theme: Theme = "light",
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Draw a paper's figure from the newest experiments behind its rows; 409 says what is missing, and the launch.

    `clip` is the test clip that a figure of one clip shows, by its id or the name of its file. The same data draw the
    same bytes.
    """
    with backend.database.transaction() as session:
        found = paper_figures.prepared(session, paper, name, clip)
    return picture(figures.loaded(found, open_store(backend.settings)), form, theme, if_none_match)


@router.get(
    "/{paper}/tables/{table}/curves.{form}",
    response_class=Response,
    responses={200: {"description": "the picture", "content": {kind: {} for kind in MEDIA_TYPES.values()}}},
)
def curves(
    *,
    paper: Id,
    table: Id,
    form: Format,
    database: DatabaseDep,
    curves: Annotated[str | None, Query(max_length=500)] = None,
    theme: Theme = "light",
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Draw the curves of a figure as they were measured here, as SVG or PNG.

    `curves` names some of them, separated by commas; without it all that were measured are drawn.
    """
    data = papers.named_paper(paper)
    named = papers.named_table(data, table)
    wanted = None if curves is None else [name.strip() for name in curves.split(",")]
    with database.transaction() as session:
        drawing = paper_curves.prepared(session, data, named, wanted)
    return picture(drawing, form, theme, if_none_match)


@router.post(
    "/{paper}/launch",
    status_code=202,
    response_model=LaunchAnswer,
    openapi_extra=body_of(LaunchRequest, {"dataset": "motion_shapes", "backbone": "tiny", "epochs": 2}),
    responses=DRY,
)
def launch_paper(
    *,
    paper: Id,
    caller: SubmitterDep,
    body: JsonBody,
    database: DatabaseDep,
    broker: BrokerDep,
    dry_run: bool = False,
) -> LaunchAnswer | JSONResponse:
    """Launch all that a paper measured itself, or some rows of it; what is there or under way is not launched again."""
    data = papers.named_paper(paper)
    wanted = checked(LaunchRequest, body)
    found = papers.own_figures(data, [table.name for table in data.tables], wanted.rows)
    return _launched(data, found, Launcher(database, caller.name, wanted.order, broker.ring), dry_run=dry_run)


@router.post(
    "/{paper}/tables/{table}/launch",
    status_code=202,
    response_model=LaunchAnswer,
    openapi_extra=body_of(LaunchRequest, {"dataset": "motion_shapes", "backbone": "tiny", "epochs": 2}),
    responses=DRY,
)
def launch_table(
    *,
    paper: Id,
    table: Id,
    caller: SubmitterDep,
    body: JsonBody,
    database: DatabaseDep,
    broker: BrokerDep,
    dry_run: bool = False,
) -> LaunchAnswer | JSONResponse:
    """Launch a table, or some rows of it; what is there or under way is not launched again."""
    data = papers.named_paper(paper)
    named = papers.named_table(data, table)
    wanted = checked(LaunchRequest, body)
    found = papers.own_figures(data, [named.name], wanted.rows)
    return _launched(data, found, Launcher(database, caller.name, wanted.order, broker.ring), dry_run=dry_run)


def _launched(
    paper: PaperData,
    wanted: tuple[PrintedFigure, ...],
    launcher: Launcher,
    *,
    dry_run: bool,
) -> LaunchAnswer | JSONResponse:
    try:
        if dry_run:
            plan = launcher.plan(wanted)
            return JSONResponse(LaunchAnswer.foreseen(paper.name, len(wanted), plan).model_dump(mode="json"))
        made = launcher.launch(wanted)
    except ValidationError as error:
        found = translate(error.errors(include_url=False), SUBMISSION_FIELDS)
        raise InvalidFields(as_asked(found, launcher.order)) from error
    return LaunchAnswer.launched(paper.name, len(wanted), made)
