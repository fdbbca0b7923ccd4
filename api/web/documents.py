"""What every page loads, and the documents of the HTTP interface: routes like all others, under the same rules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

DOCS, OPENAPI = "/docs", "/openapi.json"

router = APIRouter(include_in_schema=False)
files = StaticFiles(directory=Path(__file__).parent / "static")


@router.get("/static/{path:path}", name="static")
async def static(path: str, request: Request) -> Response:
    """Return the style sheet, or nothing new where the browser has it."""
    return await files.get_response(path, request.scope)


@router.get(OPENAPI)
async def openapi(request: Request) -> dict[str, Any]:
    """Return the OpenAPI document."""
    found: dict[str, Any] = request.app.openapi()
    return found


@router.get(DOCS)
async def docs(request: Request) -> HTMLResponse:
    """Return the interactive reference, whose scripts come from a public server (jsdelivr)."""
    return get_swagger_ui_html(openapi_url=OPENAPI, title=request.app.title)
