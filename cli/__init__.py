"""The `twostream` command: an HTTP client of the API, and the embedded stack of one machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cli.client import Client, CommandError

if TYPE_CHECKING:
    from cli.async_client import AsyncClient

__all__ = ("AsyncClient", "Client", "CommandError")


def __getattr__(name: str) -> Any:
    """Load the asynchronous client, and asyncio with it, for whoever asks for it."""
    if name == "AsyncClient":
        from cli.async_client import AsyncClient

        return AsyncClient
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
