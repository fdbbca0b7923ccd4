"""What a RAR archive says of the files in it, since not every program that unpacks it compares."""

from __future__ import annotations

import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import rarfile

from cli.client import CommandError

rarfile.RAR_MAX_COMMENT = 0
"""Of an archive's comment no byte is read; a packed one would be unpacked by a program, for as long as that takes."""
CHUNK_BYTES = 1 << 20

Checksums = Counter[tuple[int, int]]
"""How many files there are of each size and CRC-32."""


def promised(archive: Path) -> Checksums | None:
    """Return what an archive says it holds; None where it has another checksum than CRC-32 of a file.

    Raises:
        CommandError: it is damaged or cut short, needs a password, is one of several volumes, or holds a link.
    """
    blocks: list[Any] = []
    try:
        with rarfile.RarFile(archive, errors="strict", part_only=True, info_callback=blocks.append) as file:
            locked = file.needs_password()
            entries = [file.getinfo_orig(path) for path in {*file.namelist()}]  # of a copy what it is a copy of
    except (rarfile.Error, OSError, ValueError, OverflowError) as error:  # all but the first: numbers beyond any file
        raise CommandError(f"{archive}: {error}; hint: remove it, and run this again") from error
    if locked:
        raise CommandError(f"{archive}: needs a password, allowed: archives without one")
    if any(block.type == rarfile.RAR_BLOCK_MAIN and block.flags & rarfile.RAR_MAIN_VOLUME for block in blocks):
        raise CommandError(f"{archive}: is one of several volumes, allowed: archives of one file")
    if links := sorted(entry.filename for entry in entries if entry.is_symlink()):
        raise CommandError(f"{archive}: holds the link {links[0]!r}, allowed: files and folders")
    files = [entry for entry in entries if entry.is_file()]
    if any(entry.CRC is None for entry in files):
        return None
    return Counter((entry.file_size, entry.CRC) for entry in files)


def unpacked(folder: Path) -> Checksums:
    """Return what a folder holds."""
    found: Checksums = Counter()
    for path in folder.rglob("*"):
        if path.is_file():
            found[path.stat().st_size, _checksum(path)] += 1
    return found


def _checksum(path: Path) -> int:
    value = 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            value = zlib.crc32(chunk, value)
    return value
