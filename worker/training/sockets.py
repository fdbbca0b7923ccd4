"""Where the sockets lie over which loader processes hand over tensors: where there is room for their names.

A socket's path has 107 bytes, of which `multiprocessing` takes 32 for names of its own. Below a longer folder for
temporary files, as schedulers of clusters make one for each job, a loader process would fail in a thread, and whoever
reads from it would wait forever.
"""

from __future__ import annotations

import os
import tempfile
from multiprocessing import util

from services.errors import StageError

MOST_BYTES = 75
"""Of the path of a folder, for a socket in it."""
SHORT_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - multiprocessing makes a folder of its own below


def give_room() -> None:
    """Have `multiprocessing` put the sockets of this process and its children where their paths fit.

    Raises:
        StageError: no folder that may be written to is short enough.
    """
    if _fits(tempfile.gettempdir()):
        return
    usual = tempfile.tempdir
    tempfile.tempdir = _short()
    try:
        util.get_temp_dir()  # makes it, and keeps it for this process and its children
    finally:
        tempfile.tempdir = usual


def _short() -> str:
    for folder in SHORT_FOLDERS:
        if os.access(folder, os.W_OK | os.X_OK):
            return folder
    raise StageError(
        f"TMPDIR: got {tempfile.gettempdir()!r}, allowed: a folder whose path has at most {MOST_BYTES} bytes, "
        f"or {' or '.join(SHORT_FOLDERS)} to be writable, for the sockets of loader processes"
    )


def _fits(folder: str) -> bool:
    return len(os.fsencode(folder)) <= MOST_BYTES
