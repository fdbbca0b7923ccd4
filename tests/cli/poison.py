"""A way to a real API on which every text of every answer gets what steers a terminal."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

HOSTILE = (
    "\x1b[2J\x1b]0;owned\x07"  # clears the screen, names the window
    "\x9b31m\x9d0;owned\x9c"  # the same by single C1 characters
    "\r\n\trow\x0b\x0c\x08\x7f\x00"  # goes back, breaks the line, rubs out
    "\u202eright to left\u2066\u200f\u061c\u2028\u2029\ufeff\ufff9\U000e0041"
    "[red]markup[/red]\ud800"
)
FORBIDDEN = frozenset(HOSTILE) - frozenset("owned;row right to left[]/markupJ0123456789\n\t")
AS_THEY_ARE = ("state", "created_at", "started_at", "finished_at", "used_at", "last_seen_at", "expires_at", "root")


@contextmanager
def poisoned(api: str) -> Iterator[str]:
    """Serve the API at `api` with poisoned answers; yield the address."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            size = int(self.headers.get("content-length", 0))
            headers = {"content-type": self.headers.get("content-type", "text/plain")}
            with httpx.Client(base_url=api, trust_env=False, timeout=60) as client:
                got = client.request(self.command, self.path, content=self.rfile.read(size), headers=headers)
            if got.headers["content-type"].endswith("json"):
                content = json.dumps(spoil(got.json())).encode()
            else:
                content = (got.text + spoil("log\n")).encode("utf-8", "replace")
            self.send_response(got.status_code)
            self.send_header("content-type", got.headers["content-type"])
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = answer  # noqa: N815 - names that the base class looks for

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def spoil(value: Any, field: str = "") -> Any:
    """Return a JSON value whose texts and names of unknown fields hold what steers a terminal."""
    if isinstance(value, dict):
        loose = field in ("bytes_by_kind", "categories", "other_protocols", "splits")
        return {spoil(name) if loose else name: spoil(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [spoil(inner, field) for inner in value]
    return f"{value}{HOSTILE}" if isinstance(value, str) and field not in AS_THEY_ARE else value
