"""What ends a command: a message for the user, and an exit code for scripts."""

from __future__ import annotations

from typing import Any

OK, FAILURE, INVALID, NOT_FOUND, CONFLICT, INTERRUPTED = 0, 1, 2, 3, 4, 130
Json = dict[str, Any]


class CommandError(Exception):
    """Ends a command: a message for the user, an exit code, and the problem document (RFC 9457) behind it."""

    def __init__(self, message: str, exit_code: int = FAILURE, problem: Json | None = None) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.problem = problem or {"type": "about:blank", "title": message, "status": None, "detail": message}


class Unreachable(CommandError):
    """Nobody answers at the API's address, or no address is known."""


class StackError(Exception):
    """A part of the embedded stack cannot start or has died; the message is for the user."""
