"""The pages of datasets: sizes, splits, classes, revisions, what its `index` stage found, and what is on disk of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse

from api.datasets import DatasetCheck
from api.deps import DatabaseDep, Id
from api.web.negotiation import Pages
from api.web.templates import page
from services import holdings, registry, revisions
from services.board import predictions
from services.db.tables import StageRow
from services.queue import experiments

LATEST = 10
FINDINGS = {
    "deviations": "Lists differ from the official ones",
    "missing": "Listed and not there",
    "undecodable": "Not to be decoded",
    "leaks": "Groups on both sides of a split",
    "miscounted": "Header declares another number of frames",
    "differing": "Other programs show other pictures",
    "duplicates": "Equal files",
    "surplus": "There and in no list",
}
"""Of the doctor, in the order of what they matter."""

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
        latest = experiments.page(session, dataset=name, limit=LATEST, count_to=0)
        seen = registry.latest_check(session, name)
        survey = revisions.survey(session, name)
        classes = _classes(survey) or predictions.classes_of(session, [each.id for each in latest.items])
        context = {
            "dataset": row,
            "revisions": revisions.history(session, name),
            "survey": survey,
            "said": _said(survey),
            "check": None if seen is None else DatasetCheck.of(seen),
            "findings": FINDINGS,
            "classes": classes,
            "holdings": holdings.of_dataset(session, name),
            "latest": latest,
        }
    return page(request, "dataset.html", context)


def _said(survey: StageRow | None) -> Mapping[str, Any]:
    """Return what the `index` stage found; one of an earlier version says less."""
    return {} if survey is None else survey.summary or {}


def _classes(survey: StageRow | None) -> Sequence[tuple[str, int]]:
    """Return the classes by label, each with its clips."""
    found: Sequence[tuple[str, int]] = _said(survey).get("class_clips", ())
    return found
