"""`dataset fetch` against a server on this machine that drops connections."""

from __future__ import annotations

import os
import shlex
import shutil
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from cli import download
from cli.commands import fetch
from cli.main import main
from services.datasets.layouts import read_annotations
from tests.cli.archives import PROGRAM, rar, zipped

SERVED_AT_ONCE = 30_000
UCF_CLIPS = {f"UCF-101/{name}/v_{name}_g0{n}_c01.avi": b"clip" for name in ("A", "B") for n in (1, 2)}
UCF_CLIPS["UCF-101/A/v_A_g01_c01.avi"] = np.random.default_rng(0).bytes(100_000)
UCF_LISTS = {
    "ucfTrainTestlist/classInd.txt": b"1 A\r\n2 B\r\n",
    "ucfTrainTestlist/trainlist01.txt": b"A/v_A_g01_c01.avi 1\r\nB/v_B_g01_c01.avi 2\r\n",
    "ucfTrainTestlist/testlist01.txt": b"A/v_A_g02_c01.avi\r\nB/v_B_g02_c01.avi\r\n",
}
HMDB_CLIPS = {f"{name}/{n}_(x)!#[y]&+;~@.avi": f"{name}{n}".encode() for name in ("clap", "wave") for n in (1, 2)}
HMDB_LISTS = {
    f"testTrainMulti_7030_splits/{name}_test_split1.txt": b"1_(x)!#[y]&+;~@.avi 1 \n2_(x)!#[y]&+;~@.avi 2 \n"
    for name in ("clap", "wave")
}
FILES = {
    "/clips.zip": zipped(UCF_CLIPS),
    "/lists.zip": zipped(UCF_LISTS),
    "/few.zip": zipped({path: content for path, content in UCF_CLIPS.items() if "g02" not in path}),
    "/clips.rar": rar(
        {f"{name}.rar": rar({p: c for p, c in HMDB_CLIPS.items() if p.startswith(name)}) for name in ("clap", "wave")}
    ),
    "/lists.rar": rar(HMDB_LISTS),
}


class Dropping(BaseHTTPRequestHandler):
    """Sends a part of what was asked for and hangs up."""

    asked: list[tuple[str, str | None]] = []  # noqa: RUF012 - one server at a time

    def do_GET(self) -> None:
        if self.path == "/page":
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            return
        if self.path not in FILES:
            self.send_error(404)
            return
        content, asked = FILES[self.path], self.headers.get("Range")
        self.asked.append((self.path, asked))
        first = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(content) - first))
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        self.wfile.write(content[first : first + SERVED_AT_ONCE])

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(context: ssl.SSLContext | None = None) -> Iterator[int]:
    """Serve, and lend the port."""
    Dropping.asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Dropping) as running:
        if context is not None:
            running.socket = context.wrap_socket(running.socket, server_side=True)
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        try:
            yield running.server_address[1]
        finally:
            running.shutdown()
            thread.join()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0.01)
    with serving() as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., int]:
    """A function that fetches a dataset from addresses into `data` and returns the exit code."""

    def fetch_from(name: str, *addresses: str, options: tuple[str, ...] = ()) -> int:
        given = [word for address in addresses for word in ("--address", address)]
        with pytest.raises(SystemExit) as ended:
            main(["dataset", "fetch", name, "--to", str(tmp_path / "data"), *given, *options])
        return int(ended.value.code or 0)

    return fetch_from


def test_dropped_connections_are_resumed(server, run, tmp_path, capsys) -> None:
    assert run("ucf101", f"{server}/clips.zip", f"{server}/lists.zip") == 0
    size = len(FILES["/clips.zip"])
    resumed = [("/clips.zip", f"bytes={first}-") for first in range(SERVED_AT_ONCE, size, SERVED_AT_ONCE)]
    assert len(resumed) == 3
    assert Dropping.asked == [("/clips.zip", None), *resumed, ("/lists.zip", None)]
    for path, content in (UCF_CLIPS | UCF_LISTS).items():
        assert (tmp_path / "data" / path).read_bytes() == content
    out, err = capsys.readouterr()
    assert f"unpacking {tmp_path}/data/UCF101.rar into {tmp_path}/data/UCF-101\n" in err
    assert "4 of 4 listed clips" in out
    assert "lists differ from the official ones: classes: 2, official: 101" in out
    clips, lists = (shlex.quote(f"{tmp_path}/data/{name}") for name in ("UCF-101", "ucfTrainTestlist"))
    assert f"--layout ucf101 --root {clips} --splits {lists}" in out


def test_what_is_there_is_not_fetched_again(server, run, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("TWOSTREAM_FETCH_UCF101", f"{server}/clips.zip {server}/lists.zip")
    assert run("ucf101", options=("--no-unpack",)) == 0
    files = {path.name for path in (tmp_path / "data").iterdir()}
    assert files == {"UCF101.rar", "UCF101TrainTestSplits-RecognitionTask.zip"}
    asked = len(Dropping.asked)
    assert run("ucf101") == 0
    for file in files:
        (tmp_path / "data" / file).unlink()
    assert run("ucf101") == 0
    assert len(Dropping.asked) == asked


def test_a_part_of_an_earlier_run_is_continued(server, run, tmp_path) -> None:
    url, target = f"{server}/clips.zip", tmp_path / "data" / "UCF101.rar"
    target.parent.mkdir()
    part = download.partial_file(url, target)
    part.write_bytes(FILES["/clips.zip"][:70_000])
    assert run("ucf101", url, f"{server}/lists.zip") == 0
    assert Dropping.asked[0] == ("/clips.zip", "bytes=70000-")
    assert target.read_bytes() == FILES["/clips.zip"]
    assert not part.exists()


def test_hmdb51_is_laid_out_as_its_layout_wants(server, run, tmp_path, monkeypatch, capsys) -> None:
    unrar = tmp_path / "bin" / "unrar"  # the first that is asked
    unrar.parent.mkdir()
    unrar.write_text(f'#!/bin/sh\nexec {shlex.join(PROGRAM)} "$4"\n')
    unrar.chmod(0o755)
    monkeypatch.setenv("PATH", str(unrar.parent), os.pathsep)
    assert run("hmdb51", f"{server}/clips.rar", f"{server}/lists.rar") == 0
    data = tmp_path / "data"
    for path, content in HMDB_CLIPS.items():
        assert (data / "hmdb51_org" / path).read_bytes() == content
    annotations = read_annotations("hmdb51", data / "testTrainMulti_7030_splits")
    assert {clip.path for clip in annotations.clips()} == set(HMDB_CLIPS)
    folders = {path.name for path in data.iterdir()}
    assert folders == {"hmdb51_org", "testTrainMulti_7030_splits", "hmdb51_org.rar", "test_train_splits.rar"}
    assert "4 of 4 listed clips" in capsys.readouterr().out


def test_missing_clips_end_with_1(server, run, capsys) -> None:
    assert run("ucf101", f"{server}/few.zip", f"{server}/lists.zip") == 1
    captured = capsys.readouterr()
    assert "2 of 4 listed clips" in captured.out
    assert "2 listed clips are missing" in captured.err


def test_the_next_address_is_tried(server, run, tmp_path, monkeypatch) -> None:
    source = fetch.SOURCES["ucf101"]
    clips = source.clips._replace(addresses=(f"{server}/page", f"{server}/gone", f"{server}/clips.zip"))
    lists = source.lists._replace(addresses=(f"{server}/lists.zip",))
    monkeypatch.setitem(fetch.SOURCES, "ucf101", source._replace(clips=clips, lists=lists))
    assert run("ucf101") == 0
    assert (tmp_path / "data/UCF-101/B/v_B_g01_c01.avi").read_bytes() == b"clip"


def test_a_page_that_moved_is_named_with_what_to_do(server, run, capsys) -> None:
    assert run("hmdb51", f"{server}/gone.rar") == 1
    words = capsys.readouterr().err
    assert "gone.rar: answers 404" in words
    assert "Download hmdb51_org.rar by hand from https://serre.lab.brown.edu/hmdb51.html into" in words


def test_wrong_arguments_are_named(server, run, capsys) -> None:
    for name, addresses, code, words in (
        ("kinetics", (), 2, "NAME: got 'kinetics', allowed: ucf101, hmdb51"),
        ("ucf101", ("a", "b", "c"), 2, "--address: got 3, allowed: one for the clips and one for the lists"),
        ("ucf101", ("nowhere",), 1, "nowhere: Request URL is missing"),
    ):
        assert run(name, *addresses) == code
        assert words in capsys.readouterr().err


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl, which makes the certificate, is not installed")
@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--max-files", "3"), 1, "clips.zip: holds"),
        (("--max-size", "100"), 1, "allowed: 100 bytes; hint: --max-size"),
        (("--max-size", "much"), 2, "--max-size: got 'much', allowed: a number of bytes, or a text such as 200GB"),
    ],
)
def test_archives_may_hold_what_options_say(server, run, capsys, options, code, words) -> None:
    assert run("ucf101", f"{server}/clips.zip", f"{server}/lists.zip", options=options) == code
    assert words.replace("clips.zip", "UCF101.rar") in capsys.readouterr().err


def test_a_certificate_that_nobody_vouches_for_needs_insecure(run, tmp_path, capsys) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    make = "openssl req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256 -days 1 -subj /CN=127.0.0.1"
    subprocess.run([*make.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with serving(context) as port:
        addresses = (f"https://127.0.0.1:{port}/lists.zip", f"https://127.0.0.1:{port}/lists.zip")
        assert run("ucf101", *addresses) == 1
        assert "self-signed certificate; hint: --insecure takes it all the same" in capsys.readouterr().err
        assert run("ucf101", *addresses, options=("--no-unpack", "--insecure")) == 0
