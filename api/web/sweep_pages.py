"""The pages of sweeps: the list, and one with its trials, what mattered, and its best configuration."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

import yaml
from fastapi import Query, Request
from fastapi.responses import HTMLResponse

from api.deps import DatabaseDep, Id
from api.sweep_shapes import Sweep, SweepDetail
from api.web.fields import worded
from api.web.negotiation import Pages
from api.web.templates import page
from services.metrics import METRICS, PRIMARY
from services.sweeps import sweeps

PAGE = 50

router = Pages()


@router.get("/sweeps", response_class=HTMLResponse)
def listing(
    request: Request,
    database: DatabaseDep,
    cursor: Annotated[str, Query(pattern=f"^({sweeps.CURSOR})?$")] = "",
) -> HTMLResponse:
    """Render the list of sweeps, newest first."""
    with database.transaction() as session:
        found = sweeps.page(session, limit=PAGE, cursor=cursor or None)
        counts = sweeps.counts(session, [row.id for row in found.items])
    context = {
        "items": [Sweep.of(row, counts[row.id]) for row in found.items],
        "total": found.total,
        "following": urlencode({"cursor": found.next_cursor}) if found.next_cursor else "",
    }
    return page(request, "sweeps.html", context)


@router.get("/sweeps/{sweep_id}", response_class=HTMLResponse)
def detail(request: Request, sweep_id: Id, database: DatabaseDep) -> HTMLResponse:
    """Render a sweep."""
    with database.transaction() as session:
        view = sweeps.view(session, sweep_id)
    found = SweepDetail.of_view(view)
    context = {
        "sweep": found,
        "live": view.row.state in sweeps.LIVE,
        "fields": list(found.spec["space"]),
        "share": METRICS[PRIMARY],
        "worded": worded,
        "spec_yaml": yaml.safe_dump(found.spec, sort_keys=False, allow_unicode=True, default_flow_style=None),
    }
    return page(request, "sweep.html", context)
