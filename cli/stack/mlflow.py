"""MLflow's tracking server as a child process, on our PostgreSQL, with artifacts through the server."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cli.stack import ports
from cli.stack.http import status_of
from cli.stack.process import Command

HOSTS = ("localhost", "localhost:*", "127.0.0.1", "127.0.0.1:*", "[::1]", "[[]::1]:*")
"""Names by which it may be asked. MLflow's own rule would take `10.evil.example` for a private address."""


@dataclass(frozen=True)
class Mlflow:
    """One server process.

    Attributes:
        folder: holds the artifacts.
        listener: the socket to serve, of a loopback port; whoever made it closes it when nobody is to connect any more.
        store: URL of its database; handed over in the environment, since it holds a password.
        env: environment to start from.
        log: its log file.
        make_store: makes its database unless there is one.
    """

    folder: Path
    listener: socket.socket
    store: str
    env: Mapping[str, str]
    log: Path
    make_store: Callable[[], None] = lambda: None

    @property
    def url(self) -> str:
        """Address of the tracking server and of its pages."""
        return ports.url_of(self.listener)

    def prepare(self) -> None:
        """Make the folder of artifacts and the database."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.make_store()

    def command(self) -> Command:
        """Return the server's command.

        One process in place of `mlflow server`, which is three (itself, uvicorn, a runner of jobs that nobody uses
        here): 6 s to the first answer in place of 14 s on two cores, and a third of the memory.
        """
        env = {
            **self.env,
            "MLFLOW_BACKEND_STORE_URI": self.store,
            "MLFLOW_ARTIFACTS_DESTINATION": str(self.folder),
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_SERVER_ALLOWED_HOSTS": self.env.get("MLFLOW_SERVER_ALLOWED_HOSTS") or self._hosts(),
            "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "1",
        }
        descriptor = self.listener.fileno()
        argv = (sys.executable, "-m", "cli.stack.serve", "cli.stack.mlflow_app:create_app", str(descriptor))
        return Command("mlflow", argv, self.log, env, pass_fds=(descriptor,))

    def _hosts(self) -> str:
        """Return the names of loopback, and those that the setting of the API allows too, behind a proxy perhaps."""
        more = [name.strip() for name in self.env.get("TWOSTREAM_ALLOWED_HOSTS", "").split(",") if name.strip()]
        return ",".join([*HOSTS, *more, *(f"{name}:*" for name in more)])

    def healthy(self, _pid: int) -> bool:
        """Say whether the server answers; its tables are there before its first answer."""
        return status_of(f"{self.url}/health") == 200
