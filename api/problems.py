"""The error table: every error answers with a problem document (RFC 9457, `application/problem+json`)."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from api.field_errors import InvalidFields, translate
from api.shapes import FieldError, Finding, Problem
from api.web.errors import error_page
from api.web.negotiation import prefers_html
from services.errors import (
    AlteredCursor,
    Conflict,
    Forbidden,
    InvalidRequest,
    NotFound,
    Refused,
    TwostreamError,
    Unavailable,
)
from services.errors import Finding as Found

STATUS: dict[type[TwostreamError], int] = {
    AlteredCursor: 400,
    InvalidRequest: 422,
    Refused: 422,
    NotFound: 404,
    Forbidden: 403,
    Conflict: 409,
    Unavailable: 503,
}


def _response() -> dict[int | str, dict[str, Any]]:
    schema = Problem.model_json_schema()
    for name in ("errors", "findings"):
        reference = schema["properties"][name]["items"].pop("$ref")
        schema["properties"][name]["items"] = schema["$defs"][reference.rpartition("/")[2]]
    del schema["$defs"]
    content = {"application/problem+json": {"schema": schema}}
    return {"default": {"description": "a problem document (RFC 9457)", "content": content}}


RESPONSES = _response()
"""What the OpenAPI document says of every answer that is an error."""

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")

log = logging.getLogger(__name__)


def problem(
    request: Request,
    status: int,
    detail: str,
    errors: Sequence[FieldError] = (),
    headers: Mapping[str, str] | None = None,
    findings: Sequence[Found] = (),
) -> Response:
    """Return a problem document, or a page to a browser.

    The type is named after the status, as in ``urn:twostream:problem:conflict``.
    """
    title = HTTPStatus(status).phrase
    body = Problem(
        type="urn:twostream:problem:" + title.lower().replace(" ", "-"),
        title=title,
        status=status,
        detail=detail,
        instance=request.url.path,
        errors=list(errors),
        findings=[Finding.of(each) for each in findings],
    )
    varies = {**(headers or {}), "Vary": "Accept"}
    if request.method in ("GET", "HEAD") and prefers_html(request.scope):
        answer = error_page(request, body)
        answer.headers.update(varies)
        return answer
    # ASCII only: the input may hold lone surrogates, which UTF-8 cannot.
    content = json.dumps(body.model_dump(mode="python"), allow_nan=False)
    return Response(content, status, varies, media_type="application/problem+json")


def install(app: FastAPI) -> None:
    """Give an application the error table."""
    app.add_exception_handler(TwostreamError, _known)
    app.add_exception_handler(InvalidFields, _invalid)
    app.add_exception_handler(RequestValidationError, _unvalidated)
    app.add_exception_handler(HTTPException, _of_router)
    app.add_exception_handler(Exception, _unexpected)


async def _known(request: Request, error: Exception) -> Response:
    status = next((status for kind, status in STATUS.items() if isinstance(error, kind)), 500)
    if status == 500:
        log.error("unexpected error of a service", exc_info=error, extra={"path": request.url.path})
        return problem(request, 500, "an error on our side; the server's log has it")
    errors = [FieldError.of(error.field, error.value, error.allowed)] if isinstance(error, InvalidRequest) else []
    detail = errors[0].sentence if errors else str(error)
    findings = error.findings if isinstance(error, Refused) else ()
    return problem(request, status, detail, errors, {"Retry-After": "5"} if status == 503 else None, findings)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, InvalidFields)
    return problem(request, 422, "; ".join(each.sentence for each in error.errors), error.errors)


async def _unvalidated(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    inside = [{**each, "loc": each["loc"][1:]} for each in error.errors()]  # first comes body, query, path, header
    return await _invalid(request, InvalidFields(translate(inside)))


async def _of_router(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail, headers = error.detail, error.headers
    if error.status_code == 404:
        detail = f"nothing is at {request.url.path}"
    elif error.status_code == 405:
        allowed = ", ".join(methods_at(request))
        detail, headers = f"{request.url.path} does not take {request.method}, allowed: {allowed}", {"Allow": allowed}
    return problem(request, error.status_code, detail, headers=headers)


def methods_at(request: Request) -> list[str]:
    """Return every method of a path, with what `HeadAndOptions` adds; nothing where no route is."""
    routes = request.app.routes
    scopes = {method: {**request.scope, "method": method} for method in METHODS}
    found = {name for name, scope in scopes.items() if any(route.matches(scope)[0] is Match.FULL for route in routes)}
    if found:
        found |= {"OPTIONS", "HEAD"} if "GET" in found else {"OPTIONS"}
    return sorted(found)


async def _unexpected(request: Request, error: Exception) -> Response:
    log.error("unexpected error", exc_info=error, extra={"path": request.url.path})
    return problem(request, 500, "an error on our side; the server's log has it")
