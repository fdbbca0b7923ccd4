"""Files on a local disk: which are finished, links and removals that happen at once or not at all, full disks."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from services.stores.names import TRASH_FOLDER, is_unfinished, temporary

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Errors of a file that has no room to grow: on the disk, in a quota, below the limit of the process."""
FULL_BYTES = 1 << 20
"""With less than this left, a disk counts as full."""
FULL_WORDS = tuple(os.strerror(number) for number in sorted(FULL))


def tells_of_full_disk(error: BaseException | None) -> bool:
    """Tell whether an error, or what it was raised from, says that a file had no room to grow.

    Libraries that write files by themselves, such as torch and safetensors, repeat the words of the system.
    """
    while error is not None:
        if (isinstance(error, OSError) and error.errno in FULL) or any(word in str(error) for word in FULL_WORDS):
            return True
        error = error.__cause__ or error.__context__
    return False


def is_full(folder: Path) -> bool:
    """Tell whether the disk of a folder is full; one that is not there yet counts as its parent."""
    try:
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        return shutil.disk_usage(folder).free < FULL_BYTES
    except OSError:
        return False


def finished_files(folder: Path) -> Iterator[str]:
    """Yield the files below a folder that nobody is still writing, by their path in it and in order."""
    for path in sorted(folder.rglob("*")):
        if not path.is_dir() and not is_unfinished(path.name):
            yield path.relative_to(folder).as_posix()


def link_file(source: Path, target: Path) -> None:
    """Give a file another name, by a hard link where the file system allows, else by bytes.

    Whoever reads ``target`` finds what was there before or all of the new content. Every file of ours is replaced in
    this way and never changed in place, so that a link is as good as a copy. Folders are made where they are missing.

    Raises:
        OSError: there is no such file, or no place for it.
    """
    with contextlib.suppress(FileNotFoundError):
        if target.samefile(source):
            return
    target.parent.mkdir(parents=True, exist_ok=True)
    made = temporary(target, os.getpid(), threading.get_ident())
    made.unlink(missing_ok=True)  # left by a killed process of these numbers: perhaps a link to a finished file
    try:
        os.link(source, made)
    except OSError:
        try:
            _copy(source, made)
        except OSError:
            made.unlink(missing_ok=True)  # what was copied does not keep a full disk full
            raise
    made.replace(target)
    made.unlink(missing_ok=True)  # where both have become the same file, the replacement does nothing


def trash(path: Path, root: Path) -> Path:
    """Take a file or folder away at once and as a whole, and return where it lies now.

    Args:
        path: what is to go; nothing happens if it is not there.
        root: above it, on the same file system; what is in the trash there belongs to nobody.
    """
    target = root / TRASH_FOLDER / secrets.token_hex(8)
    target.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        path.rename(target)
    return target


def remove(path: Path, root: Path) -> None:
    """Remove a file or folder so that it is there as a whole or not at all, even after a crash; see `trash`."""
    target = trash(path, root)
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(target) if target.is_dir() else target.unlink()


def empty_trash(root: Path) -> None:
    """Remove what was put into the trash of a root, and what an interrupted `remove` left there."""
    shutil.rmtree(root / TRASH_FOLDER, ignore_errors=True)


def _copy(source: Path, target: Path) -> None:
    shutil.copy2(source, target)
    with target.open("rb") as file:
        os.fsync(file.fileno())  # else a power cut could leave the name without the content


def write_atomically(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Replace a file by some bytes; see `replacing`."""
    with replacing(path, mode) as file:
        file.write(content)


@contextmanager
def replacing(path: Path, mode: int = 0o666) -> Iterator[BinaryIO]:
    """Replace a file so that a reader sees the old or the new content, never a part, even after a power cut.

    Where that fails the old file stays, and the part that was written does not keep a full disk full.

    Args:
        path: the file.
        mode: its permissions, but for those that the process' mask takes away.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    made = temporary(path, os.getpid())
    made.unlink(missing_ok=True)  # left by a killed process of this number, perhaps with another mode
    try:
        with open(made, "wb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        made.replace(path)
    except BaseException:
        made.unlink(missing_ok=True)
        raise
