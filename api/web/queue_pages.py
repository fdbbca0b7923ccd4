"""The pages of the queue and of the workers: what runs, what waits and why, and who works."""

from __future__ import annotations

from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse

from api.deps import DatabaseDep
from api.web.fields import Place
from api.web.negotiation import Pages
from api.web.templates import page
from services.db.engine import Session
from services.queue import workers

PAGE = 100

router = Pages()


@router.get("/queue", response_class=HTMLResponse)
def queue(request: Request, database: DatabaseDep, cursor: Place = 0) -> HTMLResponse:
    """Render what runs, and what waits in line with the reasons."""
    with database.transaction() as session:
        waiting = workers.waiting(session, PAGE + 1, cursor)
        total = workers.count_waiting(session)
        context = _fleet(session, 0)
    context |= {"waiting": waiting[:PAGE], "total": total, "following": cursor + PAGE if len(waiting) > PAGE else 0}
    return page(request, "queue.html", context)


@router.get("/workers", response_class=HTMLResponse)
def listing(request: Request, database: DatabaseDep, cursor: Place = 0) -> HTMLResponse:
    """Render the workers, and what each of them does."""
    with database.transaction() as session:
        context = {**_fleet(session, cursor), "total": workers.count(session)}
    context["following"] = cursor + PAGE if len(context["workers"]) > PAGE else 0
    context["workers"] = context["workers"][:PAGE]
    return page(request, "workers.html", context)


def _fleet(session: Session, offset: int) -> dict[str, Any]:
    running = workers.running(session)
    busy: dict[str, list[Any]] = {}
    for row in running:
        busy.setdefault(row.worker_id or "", []).append(row)
    return {"running": running, "busy": busy, "workers": workers.listing(session, PAGE + 1, offset)}
