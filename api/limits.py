"""Refuses request bodies that are too large to be held in memory or taken at all, or that do not come."""

from __future__ import annotations

import asyncio
import time

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import problem

MAX_BODY_BYTES = 1_000_000
BODY_SECONDS = 20.0
"""For the whole body of a request, from when it is first asked for."""
MAX_UPLOAD_BYTES, UPLOAD_SECONDS = 200_000_000, 600.0
"""For a body that goes to a file as it comes."""
UPLOADS = (("POST", "/scores"),)
"""Requests that send such a body."""


class BodyLimit:
    """ASGI middleware: a body over ``max_bytes``, announced by Content-Length or sent in chunks, gets 413; one that is
    not there after ``seconds`` gets 408."""

    def __init__(self, app: ASGIApp, max_bytes: int = MAX_BODY_BYTES, seconds: float = BODY_SECONDS) -> None:
        self.app, self.max_bytes, self.seconds = app, max_bytes, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer at once where the length says enough, else count what comes."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        is_upload = (scope["method"], scope["path"]) in UPLOADS
        most, seconds = (MAX_UPLOAD_BYTES, UPLOAD_SECONDS) if is_upload else (self.max_bytes, self.seconds)
        if self._announced(scope) > most:
            await problem(Request(scope), 413, _detail(most))(scope, receive, send)
        else:
            await self.app(scope, self._counted(receive, most, seconds), send)

    def _announced(self, scope: Scope) -> int:
        length = Headers(scope=scope).get("content-length", "0")
        return int(length) if length.isdecimal() else 0

    def _counted(self, receive: Receive, most: int, seconds: float) -> Receive:
        seen, deadline, whole = 0, 0.0, False

        async def counted() -> Message:
            nonlocal seen, deadline, whole
            if whole:  # what comes now is the end of the connection, whenever that is
                return await receive()
            deadline = deadline or time.monotonic() + seconds
            try:
                async with asyncio.timeout(deadline - time.monotonic()):
                    message = await receive()
            except TimeoutError as error:
                detail = f"the request's body was not there after {seconds:.0f} s"
                raise HTTPException(408, detail, {"Connection": "close"}) from error
            seen, whole = seen + len(message.get("body", b"")), not message.get("more_body", False)
            if seen > most:
                raise HTTPException(413, _detail(most))
            return message

        return counted


def _detail(most: int) -> str:
    return f"a request body may have {most} bytes at the most"
