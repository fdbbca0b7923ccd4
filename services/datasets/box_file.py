"""A file of boxes as bytes: what a registration, which needs no arrays, knows of it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from services.datasets.regular_file import read_regular

MAX_BYTES = 256 << 20
"""Of a file; the public ones have 4 and 15 MB."""


def digest_of(file: Path) -> str | None:
    """Return the SHA-256 of a file, or None where this host does not have it: the workers' hosts may.

    Raises:
        DataError: it is no regular file, too large, or unreadable.
    """
    if not file.parent.is_dir():
        return None
    return hashlib.sha256(content_of(file)).hexdigest()


def content_of(file: Path) -> bytes:
    """Return the bytes of a file.

    Raises:
        DataError: it is missing, no regular file, too large, or unreadable.
    """
    return read_regular(file, "file of boxes", MAX_BYTES)
