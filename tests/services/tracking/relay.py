"""A door before an MLflow server, whose answer to one request never comes; the server may hear of it much later."""

from __future__ import annotations

import http.client
import http.server
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from cli.stack import ports

HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "keep-alive"}
SECONDS = 120.0


class Answer(NamedTuple):
    """What the server answered."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


@dataclass
class Request:
    """A request as it came."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    def send(self, port: int) -> Answer:
        """Have the server answer it."""
        with closing(http.client.HTTPConnection(ports.LOOPBACK, port, timeout=SECONDS)) as connection:
            connection.request(self.method, self.path, self.body, dict(self.headers))
            found = connection.getresponse()
            return Answer(found.status, found.getheaders(), found.read())


@dataclass
class Relay:
    """Passes requests on, but for the first of a kind.

    Attributes:
        port: of the server.
        wanted: says whether a request is of that kind.
        heard: whether the server hears of it at once, so that the answer alone is lost.
        lost: the request, once it came.
    """

    port: int
    wanted: Callable[[Request], bool]
    heard: bool
    lost: list[Request] = field(default_factory=list)
    url: str = ""

    def deliver(self) -> None:
        """Have the server hear of the request whose answer nobody waits for any more."""
        [request] = self.lost
        assert request.send(self.port).status == 200

    def loses(self, request: Request) -> bool:
        """Say whether a request gets no answer, and keep it."""
        if self.lost or not self.wanted(request):
            return False
        self.lost.append(request)
        if self.heard:
            self.deliver()
        return True


@contextmanager
def relay(port: int, wanted: Callable[[Request], bool], *, heard: bool) -> Iterator[Relay]:
    """Stand before the server at a port."""
    door = Relay(port, wanted, heard)

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            request = Request(self.command, self.path, dict(self.headers), body)
            if door.loses(request):
                self.close_connection = True
                return
            answer = request.send(port)
            self.send_response(answer.status)
            for name, value in answer.headers:
                if name.lower() not in HOP_BY_HOP:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815 - names of the library

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer((ports.LOOPBACK, 0), Handler) as server:
        door.url = f"http://{ports.LOOPBACK}:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield door
        finally:
            server.shutdown()
            thread.join()
