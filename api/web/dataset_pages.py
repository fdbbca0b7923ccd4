"""The pages of datasets: sizes, splits, revisions, and what its `index` stage found."""

from __future__ import annotations

from fastapi import Request
from fastapi.responses import HTMLResponse

from api.deps import DatabaseDep, Id
from api.web.negotiation import Pages
from api.web.templates import page
from services import registry, revisions
from services.board import predictions
from services.queue import experiments

LATEST = 10

router = Pages()


@router.get("/datasets", response_class=HTMLResponse)
def listing(request: Request, database: DatabaseDep) -> HTMLResponse:
    """Render the list of datasets."""
    with database.transaction() as session:
        found = registry.listing(session)
    return page(request, "datasets.html", {"datasets": found})


@router.get("/datasets/{name}", response_class=HTMLResponse)
def detail(request: Request, name: Id, database: DatabaseDep) -> HTMLResponse:
    """Render a dataset with its revisions, as they were read."""
    with database.transaction() as session:
        row = registry.get(session, name)
        latest = experiments.page(session, dataset=name, limit=LATEST)
        ids = [each.id for each in latest.items]
        context = {
            "dataset": row,
            "revisions": revisions.history(session, name),
            "survey": revisions.survey(session, name, ids),
            "classes": predictions.classes_of(session, ids),
            "latest": latest,
        }
    return page(request, "dataset.html", context)
