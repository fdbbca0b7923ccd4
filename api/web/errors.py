"""Errors as pages, for browsers: what a problem document says, and where to go from here."""

from __future__ import annotations

from fastapi import Request
from fastapi.responses import HTMLResponse

from api.shapes import Problem
from api.web.templates import page


def error_page(request: Request, problem: Problem) -> HTMLResponse:
    """Return the page of a problem."""
    return page(request, "error.html", {"problem": problem}, problem.status)
