"""One file from one address, by as many connections as it takes."""

from __future__ import annotations

import hashlib
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
from rich.progress import DownloadColumn, Progress, TextColumn, TransferSpeedColumn

TRIES = 20  # connections without progress in a row
PAUSE_SECONDS = 1.0
"""Between two tries: whatever broke the connection gets time to pass, and a struggling server is not pressed."""


class NotServed(Exception):
    """An address does not serve the file; the message names the address and why."""


class Part(NamedTuple):
    """A file of which a part is here: bytes here, bytes in all (None while unknown)."""

    here: int
    total: int | None


def download(url: str, target: Path, *, verify: bool = True) -> None:
    """Download a file, going on where an earlier call broke off.

    The part that is here lies beside ``target`` until it has the size that the server announced.

    Args:
        url: the address.
        target: the file; it does not exist.
        verify: whether the server must have a valid certificate.

    Raises:
        NotServed: the server refuses it, sends a page instead, or cannot be reached.
    """
    partial, failures = partial_file(url, target), 0
    columns = (TextColumn("{task.description}"), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, transient=True) as progress, httpx.Client(verify=verify) as client:
        bar = progress.add_task(target.name, total=None)
        while True:
            before = _size(partial)
            try:
                for part in _receive(client, url, partial):
                    progress.update(bar, completed=part.here, total=part.total)
                break
            except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.TooManyRedirects) as error:
                raise NotServed(f"{url}: {error}") from error
            except httpx.TransportError as error:
                _refuse_certificate(url, error)
                failures = 0 if _size(partial) > before else failures + 1
                if failures >= TRIES:
                    raise NotServed(f"{url}: {error or type(error).__name__}") from error
                time.sleep(PAUSE_SECONDS)
    partial.rename(target)


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
        if answer.is_error or answer.headers.get("content-type", "").startswith("text/html"):
            raise NotServed(f"{url}: answers {answer.status_code}, no archive")
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
        raise NotServed(f"{url}: {here} bytes are here, the server has {total}; hint: remove the .part file")


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0
