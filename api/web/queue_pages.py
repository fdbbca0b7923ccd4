"""The pages of the queue and of the workers: what runs, what waits and why, who works, and what it uses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse

from api.deps import Backend, BackendDep
from api.queue import Waiting, Work, Worker
from api.web.fields import Place, Watched
from api.web.negotiation import Pages
from api.web.templates import answer, rendered
from services.queue import use, workers

PAGE = 100

router = Pages()


@router.get("/queue", response_class=HTMLResponse)
def queue(request: Request, backend: BackendDep, cursor: Place = 0, watched: Watched = None) -> HTMLResponse:
    """Render what runs, and what waits in line with the reasons."""

    def look() -> dict[str, Any]:
        with backend.database.transaction() as session:
            waiting = workers.waiting(session, PAGE + 1, cursor)
            running = use.running(session)
            ahead = backend.foresight.look(session)
            total = workers.count_waiting(session)
            there = workers.count(session, "alive")
        return {
            "running": [(each.row, Work.of(each, ahead)) for each in running],
            "waiting": [Waiting.of(each, ahead) for each in waiting[:PAGE]],
            "total": total,
            "following": cursor + PAGE if len(waiting) > PAGE else 0,
            "alive": there,
        }

    return _page(request, backend, "queue.html", look, watched)


@router.get("/workers", response_class=HTMLResponse)
def listing(request: Request, backend: BackendDep, cursor: Place = 0, watched: Watched = None) -> HTMLResponse:
    """Render the workers, what each of them does, and what it uses of its machine."""

    def look() -> dict[str, Any]:
        with backend.database.transaction() as session:
            found = workers.listing(session, PAGE + 1, cursor)
            work = use.by_worker(session)
            ahead = backend.foresight.look(session)
        return {
            "workers": [Worker.of(row, work.get(row.id, ()), ahead) for row in found[:PAGE]],
            "following": cursor + PAGE if len(found) > PAGE else 0,
        }

    return _page(request, backend, "workers.html", look, watched)


def _page(
    request: Request, backend: Backend, name: str, look: Callable[[], dict[str, Any]], watched: int | None
) -> HTMLResponse:
    """Return a page made anew; the scripts of open ones share what was made a moment ago."""
    if watched is None:
        return answer(rendered(request, name, look()))
    key = f"{request.url.path}?{request.url.query}"
    return answer(backend.live.get(key, 0, lambda: (0, rendered(request, name, look()))))
