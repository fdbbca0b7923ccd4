"""What every page loads, and the documents of the HTTP interface: routes like all others, under the same rules."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

from api.deps import BackendDep
from services import registry
from services.errors import Unavailable

DOCS, OPENAPI = "/docs", "/openapi.json"

router = APIRouter(include_in_schema=False)
files = StaticFiles(directory=Path(__file__).parent / "static")


@router.get("/static/{path:path}", name="static")
async def static(path: str, request: Request) -> Response:
    """Return the style sheet, or nothing new where the browser has it."""
    return await files.get_response(path, request.scope)


@router.get(OPENAPI)
def openapi(request: Request, backend: BackendDep) -> dict[str, Any]:
    """Return the OpenAPI document; where everybody may read, it names the datasets that there are."""
    document: dict[str, Any] = request.app.openapi()
    if backend.settings.read_requires_token:
        return document
    try:
        with backend.database.transaction() as session:
            names = [row.name for row in registry.listing(session)]
    except Unavailable:
        return document
    return _naming(document, names)


def _naming(document: dict[str, Any], datasets: list[str]) -> dict[str, Any]:
    """Return a document in which the dataset that a request names is one of those."""
    named = deepcopy(document)
    [ranked] = [each for each in named["paths"]["/leaderboard"]["get"]["parameters"] if each["name"] == "dataset"]
    ranked["schema"]["enum"] = datasets
    submitted = named["paths"]["/experiments"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    submitted["properties"] = {"dataset": {"enum": datasets}}
    return named


@router.get(DOCS)
async def docs(request: Request) -> HTMLResponse:
    """Return the interactive reference, whose scripts come from a public server (jsdelivr)."""
    return get_swagger_ui_html(openapi_url=OPENAPI, title=request.app.title)
