"""The papers: what they print, what was measured of it here, and the launch of what is missing."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from api.authentication import SubmitterDep
from api.deps import BrokerDep, DatabaseDep, Id, JsonBody
from api.experiments import SUBMISSION_FIELDS
from api.field_errors import body_of, checked, checked_as
from api.paper_launch import LaunchAnswer, LaunchRequest
from api.paper_shapes import FilledTable, Paper, PaperFigure, Papers, PaperSummary
from services import papers
from services.board import paper_table
from services.papers import PaperData, PrintedFigure
from services.planning.launch import Launcher

router = APIRouter(prefix="/papers", tags=["papers"])

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


@router.post(
    "/{paper}/launch",
    status_code=202,
    response_model=LaunchAnswer,
    openapi_extra=body_of(LaunchRequest),
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
    figures = papers.own_figures(data, [table.name for table in data.tables], wanted.rows)
    return _launched(data, figures, Launcher(database, caller.name, wanted.order, broker.ring), dry_run=dry_run)


@router.post(
    "/{paper}/tables/{table}/launch",
    status_code=202,
    response_model=LaunchAnswer,
    openapi_extra=body_of(LaunchRequest),
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
    figures = papers.own_figures(data, [named.name], wanted.rows)
    return _launched(data, figures, Launcher(database, caller.name, wanted.order, broker.ring), dry_run=dry_run)


def _launched(
    paper: PaperData,
    figures: tuple[PrintedFigure, ...],
    launcher: Launcher,
    *,
    dry_run: bool,
) -> LaunchAnswer | JSONResponse:
    with checked_as(SUBMISSION_FIELDS):
        if dry_run:
            plan = launcher.plan(figures)
            return JSONResponse(LaunchAnswer.foreseen(paper.name, len(figures), plan).model_dump(mode="json"))
        made = launcher.launch(figures)
    return LaunchAnswer.launched(paper.name, len(figures), made)
