"""How much an archive may unpack to: a file of a megabyte can hold a petabyte of zeros, or a million files."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cli.client import CommandError
from services.cache.sizes import word_bytes
from services.limits import MAX_ARCHIVE_FILES, MAX_ARCHIVE_GIGABYTES

POLL_SECONDS = 0.5
SYSTEM_MOST = 2**62  # bytes of a file, above what any system has


class Content(NamedTuple):
    """Bytes, and files and folders."""

    bytes: int
    files: int


class Allowance:
    """What an archive may hold, together with the archives inside it.

    Args:
        max_bytes: of all files together.
        max_files: files and folders.
        poll_seconds: how often it is looked what a program has unpacked so far.
    """

    def __init__(
        self,
        max_bytes: int = int(MAX_ARCHIVE_GIGABYTES * 10**9),
        max_files: int = MAX_ARCHIVE_FILES,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        self._poll_seconds = poll_seconds
        self._most = Content(max_bytes, max_files)
        self._taken = Content(0, 0)

    def require(self, archive: Path, more: Content) -> None:
        """Refuse what would be too much beside what was unpacked before.

        Raises:
            CommandError: names what there is, and what is allowed.
        """
        bytes_, files = self._taken.bytes + more.bytes, self._taken.files + more.files
        if files > self._most.files:
            raise CommandError(
                f"{archive}: holds {files} files or more, allowed: {self._most.files}; hint: --max-files"
            )
        if bytes_ > self._most.bytes:
            words = f"holds {word_bytes(bytes_)} or more, allowed: {word_bytes(self._most.bytes)}"
            raise CommandError(f"{archive}: {words}; hint: --max-size")

    def take(self, archive: Path, more: Content) -> None:
        """Count in what was unpacked.

        Raises:
            CommandError: it is too much.
        """
        self.require(archive, more)
        self._taken = Content(self._taken.bytes + more.bytes, self._taken.files + more.files)

    def run(self, command: Sequence[str], archive: Path, folder: Path) -> subprocess.CompletedProcess[bytes]:
        """Run a program that unpacks into a folder, and end it as soon as there is too much.

        Headers need not say the truth. No file can become larger than what is left; the sum is looked at meanwhile.

        Raises:
            CommandError: there is too much.
        """
        left = min(self._most.bytes - self._taken.bytes, SYSTEM_MOST)
        with subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            try:
                resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (left + 1, left + 1))
                while True:
                    try:
                        out, errors = process.communicate(timeout=self._poll_seconds)
                        break
                    except subprocess.TimeoutExpired:
                        self.require(archive, content_of(folder))
            except BaseException:
                process.send_signal(signal.SIGKILL)
                raise
        self.require(archive, content_of(folder))
        return subprocess.CompletedProcess(command, process.returncode, out, errors)


def content_of(folder: Path) -> Content:
    """Return what lies below a folder; links are not followed."""
    bytes_ = files = 0
    for place, folders, names in os.walk(folder):
        files += len(folders) + len(names)
        for name in names:
            try:
                bytes_ += (Path(place) / name).lstat().st_size
            except FileNotFoundError:  # a program's own temporary file
                files -= 1
    return Content(bytes_, files)
