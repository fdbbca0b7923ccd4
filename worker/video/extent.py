"""How many bytes a file should have, by the sizes of its outermost parts (torch-free).

FFmpeg takes the end of a Matroska file that was cut short for the end of the clip, since its header counts no frames.
A MOV or MP4 counts them, also those that its edit list leaves out.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

MAX_BYTES = 8  # of the id or the size of a Matroska element

Bytes = int | None
"""Of the content of a part; None where it does not say, as in a recording that was not finished."""


class NoPart(Exception):
    """There is no further part."""


def declared_bytes(file_format: str, path: Path) -> int:
    """Return where the last outermost part of a file ends; 0 where it does not say, or for another format.

    Args:
        file_format: FFmpeg's name.
        path: the file.

    Raises:
        OSError: the file cannot be read.
    """
    read = READERS.get(file_format)
    if read is None:
        return 0
    end, there = 0, path.stat().st_size
    with path.open("rb") as file:
        try:
            while end <= there:  # a damaged size may be beyond what a file can have
                file.seek(end)
                if (size := read(file)) is None:
                    return 0
                end = file.tell() + size
        except NoPart:
            pass
    return end


def _matroska(file: BinaryIO) -> Bytes:
    """Read the id and the size of an element."""
    _number(file)
    size, bits = _number(file)
    return None if size == (1 << bits) - 1 else size


def _number(file: BinaryIO) -> tuple[int, int]:
    """Read a number that says its own length by its leading zeros, and return it and its bits."""
    first = file.read(1)
    length = MAX_BYTES + 1 - first[0].bit_length() if first else MAX_BYTES + 1
    rest = file.read(length - 1) if length <= MAX_BYTES else b""
    if length > MAX_BYTES or len(rest) < length - 1:
        raise NoPart
    bits = 7 * length
    return int.from_bytes(first + rest) & ((1 << bits) - 1), bits


def _box(file: BinaryIO) -> Bytes:
    """Read the size and the kind of a box; a size of 1 is followed by the size, one of 0 reaches to the end."""
    head = file.read(8)
    if len(head) < 8:
        raise NoPart
    size = int(struct.unpack(">I4x", head)[0])
    if size == 1:
        size = int.from_bytes(file.read(8)) - 8
    if size < 8:
        if size:
            raise NoPart
        return None
    return size - 8


READERS: Mapping[str, Callable[[BinaryIO], Bytes]] = {"matroska,webm": _matroska, "mov,mp4,m4a,3gp,3g2,mj2": _box}
