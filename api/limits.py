"""Refuses large request bodies before they are held in memory."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import problem

MAX_BODY_BYTES = 1_000_000


class BodyLimit:
    """ASGI middleware: a body over ``max_bytes`` gets 413, announced by Content-Length or sent in chunks."""

    def __init__(self, app: ASGIApp, max_bytes: int = MAX_BODY_BYTES) -> None:
        self.app, self.max_bytes = app, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer at once where the length says enough, else count what comes."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif self._announced(scope) > self.max_bytes:
            await problem(Request(scope), 413, self._detail)(scope, receive, send)
        else:
            await self.app(scope, self._counted(receive), send)

    @property
    def _detail(self) -> str:
        return f"a request body may have {self.max_bytes} bytes at the most"

    def _announced(self, scope: Scope) -> int:
        length = Headers(scope=scope).get("content-length", "0")
        return int(length) if length.isdecimal() else 0

    def _counted(self, receive: Receive) -> Receive:
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self.max_bytes:
                raise HTTPException(413, self._detail)
            return message

        return counted
