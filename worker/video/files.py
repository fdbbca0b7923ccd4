"""The clips that lie below a folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

from services.errors import DataError

CLIP_SUFFIXES = {".avi", ".mp4", ".mkv", ".mov", ".webm"}


def clip_files(root: Path) -> set[str]:
    """Return the paths of all clips below a folder, relative to it; hidden files are none.

    Names that are not UTF-8 come as `printable` words them.

    Raises:
        DataError: a folder cannot be read.
    """
    found = set()
    for folder, _, names in os.walk(root, onerror=_refuse):
        below = Path(folder).relative_to(root)
        for name in names:
            if Path(name).suffix.lower() in CLIP_SUFFIXES and not name.startswith("."):
                found.add(printable((below / name).as_posix()))
    return found


def printable(path: str) -> str:
    """Return a path as UTF-8 can hold it: a byte of a name that is none becomes ``\\xff``."""
    return os.fsencode(path).decode(errors="backslashreplace")


def _refuse(error: OSError) -> NoReturn:
    raise DataError(f"{error.filename}: unreadable folder: {error.strerror}") from error
