"""One file from one address, by as many connections as it takes."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, NoReturn

import httpx
from rich.progress import DownloadColumn, TextColumn, TransferSpeedColumn

from cli.archives import why_no_archive
from cli.client import CONFLICT, CommandError
from cli.connection import http_client
from cli.output import progress_bar
from services.limits import MAX_ARCHIVE_GIGABYTES

MOST_BYTES = int(MAX_ARCHIVE_GIGABYTES * 10**9)
TRIES = 20  # connections without progress in a row
PAUSE_SECONDS = 1.0
"""Between two tries: whatever broke the connection gets time to pass, and a struggling server is not pressed."""
BUSY = (429, 502, 503, 504)  # answers that may be others soon
AS_STORED = {"Accept-Encoding": "identity"}  # sizes and ranges are of the file then, not of a compressed form
RANGE = re.compile(r"bytes (\d+)-")


class NotServed(Exception):
    """An address does not serve the file; the message names the address and why."""


class Part(NamedTuple):
    """A file of which a part is here: bytes here, bytes in all (None while unknown)."""

    here: int
    total: int | None


def download(
    url: str,
    target: Path,
    *,
    verify: bool = True,
    max_bytes: int = MOST_BYTES,
    pause_seconds: float = PAUSE_SECONDS,
) -> None:
    """Download an archive, going on where an earlier call broke off.

    The part that is here lies beside ``target`` until it has the size that the server announced.

    Args:
        url: the address.
        target: the file; it does not exist.
        verify: whether the server must have a valid certificate.
        max_bytes: of the file.
        pause_seconds: between two tries.

    Raises:
        NotServed: the server refuses it, sends something else or more than is allowed, or cannot be reached.
        CommandError: another process downloads it.
    """
    partial = partial_file(url, target)
    with _alone(partial):
        _receive_all(url, partial, target.name, max_bytes, verify=verify, pause_seconds=pause_seconds)
        if wrong := why_no_archive(partial):
            partial.unlink()
            raise NotServed(f"{url}: answers what {wrong}")
        partial.rename(target)


@contextmanager
def _alone(partial: Path) -> Iterator[None]:
    """Let no other process write the part; an empty one does not stay."""
    with partial.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandError(f"{partial}: another fetch is writing it", CONFLICT) from None
        except OSError:  # a file system without locks
            pass
        try:
            yield
        finally:
            if not os.fstat(file.fileno()).st_size:
                partial.unlink(missing_ok=True)


def _receive_all(url: str, partial: Path, name: str, max_bytes: int, *, verify: bool, pause_seconds: float) -> None:
    """Ask for what is missing as often as it takes."""
    most, failures = _size(partial), 0
    columns = (TextColumn("{task.description}", markup=False), DownloadColumn(), TransferSpeedColumn())
    with progress_bar(*columns) as progress, http_client(url, verify=verify, headers=AS_STORED) as client:
        bar = progress.add_task(name, total=None)
        while True:
            try:
                for part in _receive(client, url, partial):
                    if max(part.here, part.total or 0) > max_bytes:
                        _refuse_size(url, partial, part, max_bytes)
                    progress.update(bar, completed=part.here, total=part.total)
                break
            except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.TooManyRedirects) as error:
                raise NotServed(f"{url}: {error}") from error
            except httpx.TransportError as error:
                _refuse_certificate(url, error)
                failures = 0 if _size(partial) > most else failures + 1
                most = max(most, _size(partial))  # a server without ranges begins anew each time
                if failures >= TRIES:
                    raise NotServed(f"{url}: {error or type(error).__name__}") from error
                time.sleep(pause_seconds)


def _refuse_size(url: str, partial: Path, part: Part, max_bytes: int) -> NoReturn:
    """Refuse a file that is too large, and keep no part of one whose end nobody knows."""
    if part.total is None:
        partial.unlink()
    sends = "without end" if part.total is None else f"{part.total} bytes"
    raise NotServed(f"{url}: sends {sends}, allowed: {max_bytes} bytes; hint: --max-size")


def partial_file(url: str, target: Path) -> Path:
    """Return where the part of a file lies that is here; parts from two addresses are never mixed."""
    return target.with_name(f"{target.name}.{hashlib.sha256(url.encode()).hexdigest()[:8]}.part")


def _refuse_certificate(url: str, error: BaseException | None) -> None:
    """Do not try again where a certificate is the reason, however deep it lies."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            raise NotServed(f"{url}: {error.verify_message}; hint: --insecure takes it all the same") from error
        error = error.__cause__ or error.__context__


def _receive(client: httpx.Client, url: str, partial: Path) -> Iterator[Part]:
    """Append what is missing to the part that is here.

    Raises:
        TransportError: the connection broke, or ended before the size that was announced.
    """
    here = _size(partial)
    headers = {"Range": f"bytes={here}-"} if here else {}
    with client.stream("GET", url, headers=headers, timeout=30, follow_redirects=True) as answer:
        if answer.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE and here:
            _require_size(url, here, _announced(answer, 0))
            return
        if answer.status_code in BUSY:
            raise httpx.ReadError(f"answers {answer.status_code}")
        if answer.status_code not in (httpx.codes.OK, httpx.codes.PARTIAL_CONTENT) or _is_page(answer):
            raise NotServed(f"{url}: answers {answer.status_code}, no archive")
        here = _first_byte(url, answer, here)
        total = _announced(answer, here)
        with partial.open("r+b") as file:
            file.seek(here)
            file.truncate()
            for chunk in answer.iter_raw():
                file.write(chunk)
                here += len(chunk)
                yield Part(here, total)
    _require_size(url, here, total)


def _is_page(answer: httpx.Response) -> bool:
    return str(answer.headers.get("content-type", "")).lower().startswith("text/html")


def _first_byte(url: str, answer: httpx.Response, here: int) -> int:
    """Return where in the file an answer begins: behind what is here, or where the server says, if that is no later."""
    if answer.status_code != httpx.codes.PARTIAL_CONTENT:
        return 0
    said = RANGE.match(answer.headers.get("content-range", ""))
    first = int(said[1]) if said else here
    if first > here:
        raise NotServed(f"{url}: sends bytes from {first} on, {here} are here; hint: remove the .part file")
    return first


def _announced(answer: httpx.Response, here: int) -> int | None:
    """Return the size of the whole file, where the server says it."""
    whole = answer.headers.get("content-range", "").rpartition("/")[2]
    if whole.isdecimal():
        return int(whole)
    length = answer.headers.get("content-length", "")
    return here + int(length) if length.isdecimal() else None


def _require_size(url: str, here: int, total: int | None) -> None:
    if total is not None and here < total:
        raise httpx.ReadError(f"ended after {here} of {total} bytes")
    if total is not None and here > total:
        raise NotServed(f"{url}: {here} bytes are here, the server has {total}; hint: remove the .part file")


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0
