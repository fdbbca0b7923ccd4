"""The clips that lie below a folder."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from services.errors import DataError

CLIP_SUFFIXES = {".avi", ".mp4", ".mkv", ".mov", ".webm"}


def clip_files(root: Path) -> set[str]:
    """Return the paths of all clips below a folder, relative to it; hidden files are none, nor links that lead nowhere.

    Links to folders are followed, but not back into a folder that they lie in. Names that are not UTF-8 come as
    `printable` words them.

    Raises:
        DataError: a folder cannot be read.
    """
    return {printable(path.as_posix()) for path in _below(root, Path(), frozenset())}


def _below(root: Path, folder: Path, around: frozenset[tuple[int, int]]) -> Iterator[Path]:
    """Yield the clips below a folder, relative to the root; ``around`` are the folders that it lies in."""
    try:
        status = (root / folder).stat()
        if (status.st_dev, status.st_ino) in around:
            return
        entries = list(os.scandir(root / folder))
    except OSError as error:
        raise DataError(f"{error.filename}: unreadable folder: {error.strerror}") from error
    for entry in entries:
        mode = _mode(entry)
        if stat.S_ISDIR(mode):
            yield from _below(root, folder / entry.name, around | {(status.st_dev, status.st_ino)})
        elif Path(entry.name).suffix.lower() in CLIP_SUFFIXES and not entry.name.startswith(".") and stat.S_ISREG(mode):
            yield folder / entry.name


def _mode(entry: os.DirEntry[str]) -> int:
    """Return what an entry is, or what it leads to; 0 for a link that leads nowhere, or to itself."""
    try:
        return entry.stat().st_mode
    except OSError:
        return 0


def printable(path: str) -> str:
    """Return a path as UTF-8 can hold it: a byte of a name that is none becomes ``\\xff``."""
    return os.fsencode(path).decode(errors="backslashreplace")
