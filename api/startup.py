"""Says why the application does not start in one line, where Starlette would send a traceback."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.errors import Unavailable


class PlainStartup:
    """ASGI middleware: a start that fails with ``Unavailable`` is told by its message alone."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hold back the message of a failed start until its error is known."""
        if scope["type"] != "lifespan":
            await self.app(scope, receive, send)
            return
        failure: Message = {}

        async def hold_failure(message: Message) -> None:
            if message["type"] == "lifespan.startup.failed":
                failure.update(message)
            else:
                await send(message)

        try:
            await self.app(scope, receive, hold_failure)
        except Unavailable as error:
            await send({"type": "lifespan.startup.failed", "message": f"cannot start: {error}"})
            raise
        except BaseException:
            if failure:
                await send(failure)
            raise
