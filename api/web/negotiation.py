"""One address for browsers and programs: HTML to whoever asks for it by name (`Accept`), JSON to everybody else."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.datastructures import Headers, MutableHeaders
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HTML, JSON = "text/html", "application/json"
NEGOTIATED = "negotiated"
"""In the scope of a request whose address has a page."""


def prefers_html(scope: Scope) -> bool:
    """Say whether a request names HTML, and wants it more than JSON; `*/*` names nothing."""
    wanted = _qualities(Headers(scope=scope).get("accept", ""))
    json = max(wanted.get(kind, 0.0) for kind in (JSON, "application/*", "*/*"))
    return wanted.get(HTML, 0.0) > wanted.get(JSON, 0.0) and wanted[HTML] >= json


def _qualities(accept: str) -> dict[str, float]:
    """Return the weight of each kind that an `Accept` header names (RFC 9110, sec. 12.5.1)."""
    found = {}
    for part in accept.lower().split(","):
        kind, *options = (word.strip() for word in part.split(";"))
        weight = next((word[2:] for word in options if word.startswith("q=")), "1")
        try:
            found[kind] = float(weight)
        except ValueError:
            found[kind] = 0.0
    return found


class Pages(APIRouter):
    """Pages at addresses that answer JSON too: they are there for browsers alone. Include it before the others."""

    def __init__(self, **options: Any) -> None:
        super().__init__(include_in_schema=False, **options)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match what wants HTML, and note what could have."""
        match, child = super().matches(scope)
        if match is not Match.FULL:
            return Match.NONE, {}
        scope[NEGOTIATED] = True
        return (match, child) if prefers_html(scope) else (Match.NONE, {})


class Vary:
    """ASGI middleware: tells caches that an answer goes by `Accept`, where it does."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Add the header to what an address with a page answers."""

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start" and NEGOTIATED in scope:
                MutableHeaders(scope=message).setdefault("Vary", "Accept")
            await send(message)

        await self.app(scope, receive, sent)
