"""A download from servers on this machine that do what servers should not."""

from __future__ import annotations

import fcntl
import gzip
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from cli import download
from cli.client import CommandError
from tests.cli.archives import zipped

CONTENT = zipped({"a.avi": np.random.default_rng(0).bytes(50_000)})
FIRST_PART = 20_000


class Odd(BaseHTTPRequestHandler):
    """Answers each path in its own way."""

    asked: list[str | None] = []  # noqa: RUF012 - one server at a time

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.asked.append(asked)
        first = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        getattr(self, self.path[1:])(first)

    def answer(self, code: int, content: bytes, length: int | None = None, **headers: str) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def compressing(self, _: int) -> None:
        if "gzip" in self.headers.get("Accept-Encoding", ""):
            self.answer(200, gzip.compress(CONTENT), Content_Encoding="gzip")
        else:
            self.answer(200, CONTENT)

    def shifted(self, first: int) -> None:
        """Begin a little before what was asked for, as a server does that counts in blocks."""
        if first == 0:
            self.answer(200, CONTENT[:FIRST_PART], len(CONTENT))
        else:
            start, last = first - 100, len(CONTENT) - 1
            self.answer(206, CONTENT[start:], Content_Range=f"bytes {start}-{last}/{len(CONTENT)}")

    def ahead(self, first: int) -> None:
        if first == 0:
            self.answer(200, CONTENT[:FIRST_PART], len(CONTENT))
        else:
            start, last = first + 100, len(CONTENT) - 1
            self.answer(206, CONTENT[start:], Content_Range=f"bytes {start}-{last}/{len(CONTENT)}")

    def forgetful(self, _: int) -> None:
        """Know no ranges, and hang up after more and fewer bytes in turn."""
        self.answer(200, CONTENT[: FIRST_PART * (1 + len(self.asked) % 2)], len(CONTENT))

    def busy(self, _: int) -> None:
        if len(self.asked) < 3:
            self.answer(503, b"later")
        else:
            self.answer(200, CONTENT)

    def closed(self, _: int) -> None:
        self.answer(503, b"never")

    def page(self, _: int) -> None:
        self.answer(200, b"<!DOCTYPE html>", Content_Type="application/octet-stream")

    def shouting(self, _: int) -> None:
        self.answer(200, CONTENT, Content_Type="Text/HTML")

    def nothing(self, _: int) -> None:
        self.send_response(204)
        self.end_headers()

    def endless(self, _: int) -> None:
        """Say no length, and go on for ever."""
        self.send_response(200)
        self.end_headers()
        try:
            while True:
                self.wfile.write(CONTENT)
        except ConnectionError:
            pass

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    Odd.asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Odd) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


@pytest.fixture
def fetch(server: str, tmp_path: Path) -> Callable[..., bytes]:
    """A function that downloads a path of the server and returns what came."""

    def from_path(path: str, **options: int) -> bytes:
        download.download(f"{server}/{path}", tmp_path / "x.zip", pause_seconds=0.001, **options)
        return (tmp_path / "x.zip").read_bytes()

    return from_path


@pytest.mark.parametrize("path", ["compressing", "shifted", "busy"])
def test_the_file_is_as_the_owner_stored_it(fetch: Callable[..., bytes], path: str) -> None:
    assert fetch(path) == CONTENT


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("page", r"page: answers what begins with b'<!DOCT', allowed: ZIP, RAR"),
        ("shouting", "shouting: answers 200, no archive"),
        ("nothing", "nothing: answers 204, no archive"),
        ("closed", "closed: answers 503"),
        ("ahead", r"ahead: sends bytes from 20100 on, 20000 are here; hint: remove the \.part file"),
        ("forgetful", "forgetful: peer closed connection"),
    ],
)
def test_what_is_no_archive_is_not_taken_for_one(
    fetch: Callable[..., bytes], tmp_path: Path, path: str, words: str
) -> None:
    with pytest.raises(download.NotServed, match=words):
        fetch(path)
    assert not (tmp_path / "x.zip").exists()
    assert len(Odd.asked) <= 2 * download.TRIES
    parts = [path for path in tmp_path.iterdir() if path.suffix == ".part"]
    assert all(part.stat().st_size for part in parts)  # nothing empty is left


def test_a_part_has_one_writer(server: str, fetch: Callable[..., bytes], tmp_path: Path) -> None:
    part = download.partial_file(f"{server}/compressing", tmp_path / "x.zip")
    part.write_bytes(CONTENT[:100])
    with part.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(CommandError, match=r"x\.zip\.\w+\.part: another fetch is writing it") as refused:
            fetch("compressing")
    assert refused.value.exit_code == 4
    assert part.read_bytes() == CONTENT[:100]
    assert fetch("compressing") == CONTENT


@pytest.mark.parametrize(
    ("path", "words", "left"),
    [("endless", "sends without end", []), ("busy", f"sends {len(CONTENT)} bytes", ["x.zip"])],
)
def test_no_more_is_downloaded_than_is_allowed(
    fetch: Callable[..., bytes], tmp_path: Path, path: str, words: str, left: list[str]
) -> None:
    """A part without an end is of no use; one of a size that is known can go on when more is allowed."""
    Odd.asked += [None, None]  # no longer busy
    most = len(CONTENT) - 1
    with pytest.raises(download.NotServed, match=f"{path}: {words}, allowed: {most} bytes; hint: --max-size"):
        fetch(path, max_bytes=most)
    assert [file.name[:5] for file in tmp_path.iterdir()] == left
