"""Questions to servers that hang: they end in time, and leave no connection behind."""

import contextlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cli.stack import http, ports
from cli.stack.api import Api
from cli.stack.mlflow import Mlflow
from cli.stack.redis import Redis
from cli.stack.worker import CeleryWorker, WorkerOptions

CONNECTIONS = ("01", "04", "05", "08", "09")
"""States of a connection in /proc/net/tcp (include/net/tcp_states.h), less listening and waiting for late packets."""


def connections(port: int) -> Counter[str]:
    """Return the states of all connections at a local port, in whatever process or in none."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    at = [(fields[1], fields[2], fields[3]) for fields in lines]
    return Counter(
        state
        for local, remote, state in at
        if state in CONNECTIONS and port in (int(local.split(":")[1], 16), int(remote.split(":")[1], 16))
    )


class Silent(contextlib.ExitStack):
    """A server that takes connections and says nothing, or only the beginning of an answer."""

    def __init__(self, says: bytes) -> None:
        super().__init__()
        self.listener = self.enter_context(ports.listen(ports.LOOPBACK, 0))
        self.port, self.says = ports.port_of(self.listener), says

    def answer(self) -> None:
        """Accept one connection, and say what there is to say; it stays open."""
        connection, _ = self.listener.accept()
        self.enter_context(connection)
        connection.sendall(self.says)


PARTS = {
    "api": lambda server, folder: Api(server.listener, {}, folder / "log"),
    "mlflow": lambda server, folder: Mlflow(folder, server.listener, "", {}, folder / "log"),
    "worker": lambda server, folder: CeleryWorker(
        WorkerOptions(), ports.url_of(server.listener), None, 0, {}, folder / "log"
    ),
    "redis": lambda server, folder: Redis(folder, server.port, "secret", folder / "log"),
}


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    monkeypatch.setattr(http, "TIMEOUT_SECONDS", 0.2)


@pytest.mark.parametrize("name", PARTS)
def test_a_question_that_nobody_takes_leaves_no_connection(name, tmp_path):
    with Silent(b"") as server:
        part = PARTS[name](server, tmp_path)
        for _ in range(3):
            assert not part.healthy(1)
        assert connections(server.port) == {}


@pytest.mark.parametrize("says", [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", b"+OK\r\n"])
@pytest.mark.parametrize("name", PARTS)
def test_a_question_that_is_answered_in_part_leaves_no_connection(name, says, tmp_path):
    with Silent(says) as server:
        part = PARTS[name](server, tmp_path)
        assert [while_asked(part, server) for _ in range(2)] == [False, False]
        assert connections(server.port) == {}


def while_asked(part, server):
    """Ask a part whether it answers, and let the server answer as it does."""
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(part.healthy, 1)
        server.answer()
        return asked.result()
