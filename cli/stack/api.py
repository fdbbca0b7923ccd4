"""The API as a child process: uvicorn on the application of `api/`."""

from __future__ import annotations

import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cli.stack import ports
from cli.stack.http import status_of
from cli.stack.process import Command


@dataclass(frozen=True)
class Api:
    """One uvicorn process.

    Attributes:
        listener: the socket to serve; whoever made it closes it when nobody is to connect any more.
        env: environment with every address that the API needs.
        log: its log file.
    """

    listener: socket.socket
    env: Mapping[str, str]
    log: Path

    @property
    def url(self) -> str:
        """Address for clients on this machine."""
        return ports.url_of(self.listener)

    def prepare(self) -> None:
        """Nothing to make ready."""

    def command(self) -> Command:
        """Return the server's command."""
        descriptor = self.listener.fileno()
        argv = (sys.executable, "-m", "cli.stack.serve", "api.app:create_app", str(descriptor))
        return Command("api", argv, self.log, self.env, pass_fds=(descriptor,))

    def healthy(self, _pid: int) -> bool:
        """Say whether the API and what it needs answer."""
        return status_of(f"{self.url}/health/ready") == 200
