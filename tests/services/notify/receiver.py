"""A real HTTP server that takes webhooks, refuses them, hangs, dribbles or leads elsewhere, as a test has it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

DRIBBLE_SECONDS = 0.02


class Came(NamedTuple):
    """A request: its path, headers in small letters, and its body."""

    path: str
    headers: Mapping[str, str]
    body: bytes


class Receiver(ThreadingHTTPServer):
    """Answers with ``statuses`` in turn, the last of them for good; ``hang`` and ``dribble`` never come to an end."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.came: list[Came] = []
        self.statuses: list[int | str] = [200]
        self.over = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook"

    def next_status(self) -> int | str:
        return self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.came.append(Came(self.path, {name.lower(): value for name, value in self.headers.items()}, body))
        status = self.server.next_status()
        if status == "hang":
            self.server.over.wait()
        elif status == "dribble":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nx: ")
            while not self.server.over.wait(DRIBBLE_SECONDS):
                try:
                    self.wfile.write(b"x")
                except OSError:
                    return
        elif status == "nonsense":
            self.wfile.write(b"\0\1\2 no HTTP\r\n\r\n")
        else:
            assert isinstance(status, int)
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("location", "/elsewhere")
            self.send_header("content-length", str(10**9))  # nobody waits for all of it
            self.end_headers()
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def receiving() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        thread.join()
        server.server_close()
