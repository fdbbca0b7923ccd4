"""The pages of papers: one with its tables and how much of each is measured, and a table beside what was measured."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import Request
from fastapi.responses import HTMLResponse

from api.deps import DatabaseDep, Id
from api.paper_shapes import Paper, PaperSummary
from api.papers import filled
from api.web.negotiation import Pages
from api.web.templates import page
from services import papers
from services.board import paper_table
from services.db.engine import Session
from services.metrics import METRICS, PRIMARY
from services.papers import TableData

router = Pages()


@dataclass(frozen=True)
class TableCounts:
    """How far a table is.

    Attributes:
        own: figures that the paper measured itself.
        launchable: those of them that an experiment here makes.
        filled: those that are measured, in whatever form.
        whole: those that are measured as the paper has it.
    """

    table: TableData
    printed: int
    own: int
    launchable: int
    filled: int
    whole: int


@router.get("/papers", response_class=HTMLResponse)
def listing(request: Request) -> HTMLResponse:
    """Render the papers and their tables."""
    return page(request, "papers.html", {"papers": [PaperSummary.of(paper) for paper in papers.PAPERS.values()]})


@router.get("/papers/{paper}", response_class=HTMLResponse)
def one(request: Request, paper: Id, database: DatabaseDep) -> HTMLResponse:
    """Render a paper: how much of each table is measured, and what it leaves open."""
    data = papers.named_paper(paper)
    with database.transaction() as session:
        tables = [_counted(session, data.name, table) for table in data.tables]
    return page(request, "paper.html", {"paper": Paper.whole(data), "tables": tables})


@router.get("/papers/{paper}/tables/{table}", response_class=HTMLResponse)
def detail(request: Request, paper: Id, table: Id, database: DatabaseDep) -> HTMLResponse:
    """Render a table of a paper: each figure as printed, as measured, and what it lacks."""
    found = filled(paper, table, database)
    context = {
        "paper": papers.named_paper(paper),
        "table": found,
        "share": METRICS[PRIMARY],
        "lacking": [row for row in found.rows if row.missing],
        "drawn": any(curve.measured for row in found.rows for curve in row.curves),
        "deviations": {name: words for row in found.rows for name, words in row.deviations.items()},
    }
    return page(request, "paper_table.html", context)


def _counted(session: Session, paper: str, table: TableData) -> TableCounts:
    lines = paper_table.filled(session, paper, table.name)
    own = [line for line in lines if line.figure.own]
    measured = [line for line in own if line.measured is not None]
    return TableCounts(
        table=table,
        printed=len(lines),
        own=len(own),
        launchable=sum(bool(line.figure.sources) for line in own),
        filled=len(measured),
        whole=sum(line.missing is None for line in measured),
    )
