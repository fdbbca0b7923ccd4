"""The API as a child process: uvicorn on the application of `api/`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cli.stack.http import status_of
from cli.stack.process import Command


@dataclass(frozen=True)
class Api:
    """One uvicorn process.

    Attributes:
        host: address to listen on.
        port: port to listen on.
        env: environment with every address that the API needs.
        log: its log file.
    """

    host: str
    port: int
    env: Mapping[str, str]
    log: Path

    @property
    def url(self) -> str:
        """Address for clients on this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)  # noqa: S104
        return f"http://{host}:{self.port}"

    def prepare(self) -> None:
        """Nothing to make ready."""

    def command(self) -> Command:
        """Return the server's command."""
        # fmt: off
        return Command("api", (
            sys.executable, "-m", "cli.stack.serve", "api.app:create_app", self.host, str(self.port),
        ), self.log, self.env)
        # fmt: on

    def healthy(self, _pid: int) -> bool:
        """Say whether the API and what it needs answer."""
        return status_of(f"{self.url}/health/ready") == 200
