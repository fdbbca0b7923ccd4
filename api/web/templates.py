"""The templates, how values are worded in them, and the headers of every page."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from markupsafe import Markup
from starlette.templating import Jinja2Templates

from api.shapes import Seconds
from services import words
from services.cache.sizes import word_bytes
from services.metrics import Metric

POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""Content security: a page loads its own files alone, and runs no script that stands in it."""
DASH = "–"  # noqa: RUF001 - a dash for what is not there
MINUTE, HOUR, DAY = 60, 3600, 86400
UNITS = ("B", "kB", "MB", "GB", "TB")

templates = Jinja2Templates(Path(__file__).parent / "templates")


def page(request: Request, name: str, context: Mapping[str, Any], status: int = 200) -> HTMLResponse:
    """Return the page of a template."""
    return answer(rendered(request, name, context), status)


def rendered(request: Request, name: str, context: Mapping[str, Any]) -> bytes:
    """Render a template; what UTF-8 lacks, such as half a letter of a refused request, is replaced."""
    text = templates.get_template(name).render({"request": request, "here": request.url.path, **context})
    return text.encode(errors="replace")


def answer(content: bytes, status: int = 200) -> HTMLResponse:
    """Return a page that is rendered, with the headers that every page has."""
    headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-cache"}
    return HTMLResponse(content, status, headers, media_type="text/html; charset=utf-8")


def part(name: str, context: Mapping[str, Any]) -> Markup:
    """Render a part of a page, to be kept, and shown as it is by the template of the page."""
    return Markup(templates.get_template(name).render(context))  # noqa: S704 - of a template, which escapes


def shown(value: float | None, metric: Metric) -> str:
    """Write a value in its metric's unit, a percentage with one decimal."""
    return DASH if value is None else metric.shown(value, 1)


def when(moment: datetime | None) -> str:
    """Write a time in UTC, to the minute."""
    return DASH if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M")


def took(began: datetime | None, ended: datetime | None = None) -> str:
    """Write how long something took, or has taken by now."""
    if began is None:
        return ""
    seconds = max(0, ((ended or datetime.now(UTC)) - began).total_seconds())
    if seconds < MINUTE:
        return f"{seconds:.0f} s"
    if seconds < HOUR:
        return f"{seconds // MINUTE:.0f} min {seconds % MINUTE:.0f} s"
    if seconds < DAY:
        return f"{seconds // HOUR:.0f} h {seconds % HOUR // MINUTE:.0f} min"
    return f"{seconds // DAY:.0f} d {seconds % DAY // HOUR:.0f} h"


def about(seconds: Seconds | None) -> str:
    """Write a range of seconds."""
    return DASH if seconds is None else words.about(seconds.low, seconds.high)


def number(value: float | None) -> str:
    """Write a whole number with thin spaces between thousands."""
    return DASH if value is None else f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def size(count: float | None) -> str:
    """Write a number of bytes in the unit in which it has one to three digits before the point."""
    if count is None:
        return DASH
    unit = next((place for place in range(len(UNITS)) if count < 1000 ** (place + 1)), len(UNITS) - 1)
    return f"{count / 1000**unit:.3g} {UNITS[unit]}" if unit else f"{count:.0f} B"


def signed(points: float | None) -> str:
    """Write a difference in points with its sign."""
    if points is None:
        return DASH
    return f"{points:+.1f}" if round(points, 1) else "0.0"


templates.env.filters |= {
    "shown": shown,
    "when": when,
    "took": took,
    "number": number,
    "size": size,
    "signed": signed,
    "counted": words.counted,
    "about": about,
    "bytes": lambda size: word_bytes(int(size)),
}
templates.env.trim_blocks = templates.env.lstrip_blocks = True
