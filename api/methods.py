"""HEAD and OPTIONS on every route, so that none has to say so: HEAD is GET without its body, OPTIONS names methods."""

from __future__ import annotations

from contextlib import suppress

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import methods_at, problem


class HeadAndOptions:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer OPTIONS, let GET answer HEAD, and leave the rest alone."""
        if scope["type"] != "http" or scope["method"] not in ("HEAD", "OPTIONS"):
            await self.app(scope, receive, send)
        elif scope["method"] == "OPTIONS":
            await self._options(Request(scope))(scope, receive, send)
        else:
            with suppress(_Answered):
                await self.app({**scope, "method": "GET"}, receive, _without_body(send))

    def _options(self, request: Request) -> Response:
        methods = methods_at(request)
        if not methods:
            return problem(request, 404, f"nothing is at {request.url.path}")
        return Response(status_code=204, headers={"Allow": ", ".join(methods)})


class _Answered(Exception):
    """The head of a stream has been sent: nobody is to make its body."""


def _without_body(send: Send) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] != "http.response.body":
            await send(message)
            return
        await send({"type": "http.response.body", "body": b""})
        if message.get("more_body"):
            raise _Answered

    return sent
