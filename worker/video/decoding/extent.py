"""How many bytes a file should have, by the sizes of its outermost parts.

FFmpeg takes the end of a Matroska file that was cut short for the end of the clip, since its header counts no frames.
A MOV or MP4 counts them, also those that its edit list leaves out. An AVI counts also those that its recorder dropped.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

MAX_BYTES = 8  # of the id or the size of a Matroska element

RIFF_HEAD = 12  # name, size, and the kind of what is inside
UNKNOWN = (0, 0xFFFFFFFF)  # sizes of a list that its recorder did not come back to
INDEX_ENTRIES, INDEX_ENTRY = 24, 16  # first byte of the entries of an ``indx`` chunk, bytes of each
MAX_LISTS = 4096  # of one or two gigabytes each

Bytes = int | None
"""Of the content of a part; None where it does not say, as in a recording that was not finished."""


class NoPart(Exception):
    """There is no further part."""


def declared_bytes(file_format: str, path: Path) -> int:
    """Return where the last outermost part of a file ends, and of an AVI its pictures.

    0 where it does not say, or for another format.

    Args:
        file_format: FFmpeg's name.
        path: the file.

    Raises:
        OSError: the file cannot be read.
    """
    if file_format == "avi":
        with path.open("rb") as file:
            return _avi(file)
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


def _avi(file: BinaryIO) -> int:
    """Return where the last list of pictures ends; 0 where it does not say."""
    offset = riff_end = end = 0
    while True:
        file.seek(offset)
        head = file.read(RIFF_HEAD)
        name, kind = head[:4], head[8:]
        after = riff_end and offset >= riff_end and name != b"RIFF"
        if len(head) < RIFF_HEAD or after or not name[:1].isalnum():  # what follows is no part of the file
            return end
        size = int.from_bytes(head[4:8], "little")
        content = offset + 8
        if name == b"RIFF":
            riff_end = 0 if size in UNKNOWN else content + size
        elif name == b"LIST" and kind == b"movi":
            if size in UNKNOWN:
                return riff_end
            end = max(end, content + size)
        elif name == b"indx":
            end = max(end, _indexed(file, content))
        elif name[:2].isdigit():  # a packet: the list is longer than it says
            return 0
        inside = name == b"RIFF" or (name == b"LIST" and kind in (b"hdrl", b"strl"))
        offset = offset + RIFF_HEAD if inside else content + size + size % 2


def _indexed(file: BinaryIO, content: int) -> int:
    """Return where the last list of packets begins that the index of a large AVI names."""
    file.seek(content)
    kind, count = struct.unpack("<3xBI", file.read(8).ljust(8, b"\1"))
    if kind:  # it names packets, not lists of them
        return 0
    file.seek(content + INDEX_ENTRIES)
    entries = file.read(INDEX_ENTRY * min(count, MAX_LISTS))
    return max((offset for (offset,) in struct.iter_unpack("<Q8x", entries[: len(entries) // 16 * 16])), default=0)


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
