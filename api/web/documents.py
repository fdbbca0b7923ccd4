"""The documents of the HTTP interface: routes like all others, under the same rules."""

from __future__ import annotations

import base64
import hashlib
import re
from copy import deepcopy
from typing import Any

from fastapi import APIRouter, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse

from api.deps import BackendDep
from services import registry
from services.errors import Unavailable

DOCS, OPENAPI = "/docs", "/openapi.json"
INLINE = re.compile(rb"<script>(.*?)</script>", re.DOTALL)
POLICY = (
    "default-src 'none'; script-src 'self' {scripts}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
"""Of the reference: it runs the vendored script, and the one that stands in it, by its hash."""

router = APIRouter(include_in_schema=False)


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
    """Return the interactive reference."""
    page = get_swagger_ui_html(
        openapi_url=OPENAPI,
        title=request.app.title,
        swagger_js_url="/static/swagger-ui-bundle.js",
        swagger_css_url="/static/swagger-ui.css",
        swagger_favicon_url="/static/favicon.png",
        swagger_ui_parameters={"validatorUrl": None},  # it would send the document elsewhere
    )
    content = bytes(page.body).replace(b"<html>", b'<html lang="en">', 1)  # for those who have it read to them
    return HTMLResponse(content, headers={"Content-Security-Policy": POLICY.format(scripts=_hashes(content))})


def _hashes(page: bytes) -> str:
    """Return the sources of the scripts that stand in a page, as a policy names them."""
    found = [base64.b64encode(hashlib.sha256(script).digest()).decode() for script in INLINE.findall(page)]
    return " ".join(f"'sha256-{digest}'" for digest in found)
