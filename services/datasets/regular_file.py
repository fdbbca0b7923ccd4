"""Files that belong to a dataset, read without waiting for a pipe or reading a device for ever."""

from __future__ import annotations

import stat
from pathlib import Path

from services.errors import DataError


def read_regular(file: Path, what: str, most_bytes: int) -> bytes:
    """Return the bytes of a regular file.

    Args:
        file: its path.
        what: it should be, for messages.
        most_bytes: that it may have.

    Raises:
        DataError: it is missing, unreadable, no regular file, or too long.
    """
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > most_bytes:
            raise DataError(f"{file}: not a {what}, which is a regular file of at most {most_bytes >> 20} MiB")
        return file.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{file}: no such {what}") from None
    except OSError as error:
        raise DataError(f"{file}: unreadable: {error.strerror or error}") from error
