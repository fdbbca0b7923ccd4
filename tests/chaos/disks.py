"""Disks that a test can fill: a small tmpfs where mounting is allowed, else a limit on how long a file may grow."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

DISK_BYTES = 256 << 20
LONGEST_FILE_BYTES = 1024


@contextmanager
def small_disks(*folders: Path) -> Iterator[None]:
    """Mount a small disk on each folder where that is allowed; elsewhere they are folders like others."""
    with contextlib.ExitStack() as stack:
        for folder in folders:
            folder.mkdir(parents=True)
            mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
            if subprocess.run(mount, capture_output=True, check=False).returncode == 0:
                stack.callback(subprocess.run, ["umount", "--lazy", str(folder)], check=True)
        yield


@contextmanager
def full(folder: Path, writers: Iterable[psutil.Process]) -> Iterator[None]:
    """Leave no room on the disk of a folder for a while, or for the files of those who write there."""
    with _filled(folder) if folder.is_mount() else _stunted(writers):
        yield


@contextmanager
def _filled(folder: Path) -> Iterator[None]:
    filler = folder / "filler"
    try:
        for piece in (1 << 16, 1):
            with filler.open("ab", buffering=0) as file, contextlib.suppress(OSError):
                while True:
                    file.write(bytes(piece))
        yield
    finally:
        filler.unlink()


@contextmanager
def _stunted(writers: Iterable[psutil.Process]) -> Iterator[None]:
    before = [(process, process.rlimit(psutil.RLIMIT_FSIZE)) for process in writers]
    try:
        for process, (_, hard) in before:
            process.rlimit(psutil.RLIMIT_FSIZE, (LONGEST_FILE_BYTES, hard))
        yield
    finally:
        for process, limits in before:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.rlimit(psutil.RLIMIT_FSIZE, limits)
