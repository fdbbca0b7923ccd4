"""The pages of papers: which tables they have, and a table as printed beside what was measured."""

from __future__ import annotations

from fastapi import Request
from fastapi.responses import HTMLResponse

from api.deps import DatabaseDep, Id
from api.paper_shapes import PaperSummary
from api.papers import filled
from api.web.negotiation import Pages
from api.web.templates import page
from services import papers
from services.metrics import METRICS, PRIMARY

router = Pages()


@router.get("/papers", response_class=HTMLResponse)
def listing(request: Request) -> HTMLResponse:
    """Render the papers and their tables."""
    return page(request, "papers.html", {"papers": [PaperSummary.of(paper) for paper in papers.PAPERS.values()]})


@router.get("/papers/{paper}/tables/{table}", response_class=HTMLResponse)
def detail(request: Request, paper: Id, table: Id, database: DatabaseDep) -> HTMLResponse:
    """Render a table of a paper: each figure as printed, as measured, and what it lacks."""
    found = filled(paper, table, database)
    context = {
        "paper": papers.named_paper(paper),
        "table": found,
        "share": METRICS[PRIMARY],
        "lacking": [row for row in found.rows if row.missing],
        "deviations": {name: words for row in found.rows for name, words in row.deviations.items()},
    }
    return page(request, "paper_table.html", context)
