"""`dataset fetch` against a server on this machine that drops connections."""

from __future__ import annotations

import io
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from cli.commands import fetch
from cli.main import main

SERVED_AT_ONCE = 30_000


def archive() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        file.writestr("ucfTrainTestlist/classInd.txt", "1 A\n")
        file.writestr("noise.bin", np.random.default_rng(0).bytes(100_000))
    return content.getvalue()


ARCHIVE = archive()


class Dropping(BaseHTTPRequestHandler):
    """Sends a part of what was asked for and hangs up."""

    ranges: list[str | None] = []  # noqa: RUF012 - one server at a time

    def do_GET(self) -> None:
        if self.path != "/lists.zip":
            self.send_error(404)
            return
        asked = self.headers.get("Range")
        self.ranges.append(asked)
        first = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(ARCHIVE) - first))
        self.send_header("Content-Range", f"bytes {first}-{len(ARCHIVE) - 1}/{len(ARCHIVE)}")
        self.end_headers()
        self.wfile.write(ARCHIVE[first : first + SERVED_AT_ONCE])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(fetch, "PAUSE_SECONDS", 0.01)
    Dropping.ranges.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Dropping) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["twostream", "dataset", "fetch", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_dropped_connections_are_resumed(server, monkeypatch, tmp_path, capsys) -> None:
    assert run(monkeypatch, "ucf101", "--to", str(tmp_path), "--address", f"{server}/lists.zip") == 0
    assert (tmp_path / "lists.zip").read_bytes() == ARCHIVE
    assert (tmp_path / "ucfTrainTestlist/classInd.txt").read_text() == "1 A\n"
    assert Dropping.ranges == [None, "bytes=30000-", "bytes=60000-", "bytes=90000-"]
    assert "lists.zip" in capsys.readouterr().out
    monkeypatch.setenv("TWOSTREAM_FETCH_UCF101", f"{server}/lists.zip")
    assert run(monkeypatch, "ucf101", "--to", str(tmp_path)) == 0
    assert len(Dropping.ranges) == 4


def test_a_page_that_moved_is_named_with_what_to_do(server, monkeypatch, tmp_path, capsys) -> None:
    assert run(monkeypatch, "hmdb51", "--to", str(tmp_path), "--address", f"{server}/gone.rar") == 1
    words = capsys.readouterr().err
    assert "gone.rar: answers 404" in words
    assert "by hand from https://serre-lab" in words


def test_a_rar_without_a_tool_says_which(monkeypatch, tmp_path, capsys) -> None:
    (tmp_path / "UCF101.rar").write_bytes(b"Rar!")
    monkeypatch.setenv("PATH", "")
    assert run(monkeypatch, "ucf101", "--to", str(tmp_path), "--address", "http://127.0.0.1:1/UCF101.rar") == 1
    assert "needs one of unrar, bsdtar, 7z, unar" in capsys.readouterr().err
    assert run(monkeypatch, "kinetics", "--to", str(tmp_path)) == 2
    assert "NAME: got 'kinetics', allowed: ucf101, hmdb51" in capsys.readouterr().err
