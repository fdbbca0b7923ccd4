"""`dataset fetch`: the official archives of UCF101 and HMDB51, from their owners, resumed where they broke off."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

import httpx
import typer
from rich.progress import DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from cli.client import FAILURE, INVALID, CommandError

UCF = "https://www.crcv.ucf.edu/data/UCF101"
HMDB = "http://serre-lab.clps.brown.edu/wp-content/uploads/2013/10"
PAGES = {
    "ucf101": "https://www.crcv.ucf.edu/data/UCF101.php",
    "hmdb51": "https://serre-lab.clps.brown.edu/resource/hmdb-a-large-human-motion-database/",
}
ADDRESSES = {
    "ucf101": (f"{UCF}/UCF101.rar", f"{UCF}/UCF101TrainTestSplits-RecognitionTask.zip"),
    "hmdb51": (f"{HMDB}/hmdb51_org.rar", f"{HMDB}/test_train_splits.rar"),
}
TRIES = 20  # connections without progress in a row
PAUSE_SECONDS = 1.0
UNPACKERS = (("unrar", "x", "-o+", "-idq"), ("bsdtar", "-xf"), ("7z", "x", "-y", "-bso0"), ("unar", "-q", "-f"))


class Part(NamedTuple):
    """A file of which a part is here: bytes here, bytes in all (None while unknown)."""

    here: int
    total: int | None


def fetch(
    name: Annotated[str, typer.Argument(metavar="NAME", help="ucf101 or hmdb51.")],
    to: Annotated[Path, typer.Option("--to", help="Folder of the archives and of what they hold.")],
    address: Annotated[
        list[str] | None,
        typer.Option(help="Address of an archive instead of the owner's; may be given again. Or TWOSTREAM_FETCH_NAME."),
    ] = None,
    unpack: Annotated[bool, typer.Option(help="Unpack the archives.")] = True,
) -> None:
    """Download the official archives of a dataset and unpack them; run again, it goes on where it was.

    HMDB51's archive holds one archive for each class; they are unpacked too.
    """
    if name not in ADDRESSES:
        raise CommandError(f"NAME: got {name!r}, allowed: {', '.join(ADDRESSES)}", INVALID)
    given = os.environ.get(f"TWOSTREAM_FETCH_{name.upper()}", "").split()
    to.mkdir(parents=True, exist_ok=True)
    archives = [_download(name, url, to) for url in address or given or ADDRESSES[name]]
    for archive in archives if unpack else ():
        _unpack(archive, to)
    if unpack and name == "hmdb51":
        _unpack_classes(to)
    print(f"{name}: {', '.join(archive.name for archive in archives)} in {to}; next: twostream dataset check")


def _download(name: str, url: str, folder: Path) -> Path:
    """Download one archive, by as many connections as it takes."""
    target = folder / url.rpartition("/")[2]
    if target.exists():
        return target
    partial = target.with_name(target.name + ".part")
    failures = 0
    with Progress(TextColumn(target.name), DownloadColumn(), TransferSpeedColumn(), transient=True) as progress:
        bar = progress.add_task("", total=None)
        while True:
            before = _size(partial)
            try:
                for part in _receive(name, url, partial):
                    progress.update(bar, completed=part.here, total=part.total)
                break
            except httpx.TransportError as error:
                failures = 0 if _size(partial) > before else failures + 1
                if failures >= TRIES:
                    raise CommandError(f"{url}: {error or type(error).__name__}{_by_hand(name, folder)}") from error
                time.sleep(PAUSE_SECONDS)
    partial.rename(target)
    return target


def _receive(name: str, url: str, partial: Path) -> Iterator[Part]:
    """Append what is missing to the part that is here.

    Raises:
        TransportError: the connection broke, or ended before the size that was announced.
    """
    here = _size(partial)
    headers = {"Range": f"bytes={here}-"} if here else {}
    with httpx.stream("GET", url, headers=headers, timeout=30, follow_redirects=True) as answer:
        if answer.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE and here:
            _require_size(url, here, _announced(answer, 0))
            return
        if answer.is_error or answer.headers.get("content-type", "").startswith("text/html"):
            raise CommandError(f"{url}: answers {answer.status_code}, no archive{_by_hand(name, partial.parent)}")
        here = here if answer.status_code == httpx.codes.PARTIAL_CONTENT else 0
        total = _announced(answer, here)
        with partial.open("ab" if here else "wb") as file:
            for chunk in answer.iter_raw():
                file.write(chunk)
                here += len(chunk)
                yield Part(here, total)
    _require_size(url, here, total)


def _announced(answer: httpx.Response, here: int) -> int | None:
    """Return the size of the whole file, where the server says it."""
    whole = answer.headers.get("content-range", "").rpartition("/")[2]
    if whole.isdecimal():
        return int(whole)
    length = answer.headers.get("content-length", "")
    return here + int(length) if length.isdecimal() else None


def _require_size(url: str, here: int, total: int | None) -> None:
    if total is not None and here < total:
        raise httpx.ReadError(f"{url}: ended after {here} of {total} bytes")
    if total is not None and here > total:
        raise CommandError(f"{url}: {here} bytes are here, the server has {total}; hint: remove the .part file")


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _by_hand(name: str, folder: Path) -> str:
    return (
        f"; hint: the page may have moved. Download the archives by hand from {PAGES[name]} into {folder} and run this "
        "again, or give their addresses by --address"
    )


def _unpack(archive: Path, folder: Path) -> None:
    if archive.suffix == ".zip":
        shutil.unpack_archive(archive, folder)
        return
    for tool, *options in UNPACKERS:
        if shutil.which(tool):
            done = subprocess.run([tool, *options, str(archive.resolve())], cwd=folder, check=False)
            if done.returncode:
                raise CommandError(f"{archive}: {tool} ended with {done.returncode}", FAILURE)
            return
    tools = ", ".join(tool for tool, *_ in UNPACKERS)
    raise CommandError(f"{archive}: a RAR archive needs one of {tools}; hint: apt install unar, and run this again")


def _unpack_classes(folder: Path) -> None:
    """Unpack HMDB51's archives of one class each, which hold a folder of its clips."""
    for archive in sorted(folder.glob("*.rar")):
        if archive.name not in {url.rpartition("/")[2] for url in ADDRESSES["hmdb51"]}:
            _unpack(archive, folder)
            archive.unlink()
