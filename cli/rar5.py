"""What a RAR 5 archive says of the files in it.

Facts of the format: blocks follow a marker of 8 bytes; a block begins with the CRC-32 of its header and the header's
size, type and flags; numbers have seven bits a byte, lowest first, and a bit that says whether more follow. A file's
header has the size and mostly the CRC-32 of its content, and is followed by the packed content.
"""

from __future__ import annotations

import os
import zlib
from collections import Counter
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

MARKER = b"Rar!\x1a\x07\x01\x00"
FILE, ENCRYPTION, END = 2, 4, 5
EXTRA, DATA, CONTINUED = 0x01, 0x02, 0x18  # of a header's flags
FOLDER, TIME, CHECKSUM, UNKNOWN_SIZE = 0x01, 0x02, 0x04, 0x08  # of a file's flags
ENCRYPTED, REDIRECTED = 1, 5  # records of a file: the checksum may be of something else
MAX_NUMBER_BYTES, MAX_HEADER_BYTES = 10, 2 << 20


class _Header(NamedTuple):
    kind: int
    flags: int
    body: bytes
    extra: bytes


def promised(file: BinaryIO) -> Counter[tuple[int, int]] | None:
    """Return how many files there are of each size and CRC-32, read from behind the marker.

    None where the archive does not tell of each file: it has other checksums, several volumes, encrypted headers or
    files that are links or copies of others.
    """
    found: Counter[tuple[int, int]] = Counter()
    for header in _headers(file):
        if header.kind == ENCRYPTION:
            return None
        if header.kind != FILE:
            continue
        flags, place = _number(header.body, 0)
        if flags & FOLDER:
            continue
        told = flags & CHECKSUM and not flags & UNKNOWN_SIZE and not header.flags & CONTINUED
        if not told or {ENCRYPTED, REDIRECTED} & set(_records(header.extra)):
            return None
        size, place = _number(header.body, place)
        _, place = _number(header.body, place)  # attributes
        place += 4 if flags & TIME else 0
        found[size, int.from_bytes(header.body[place : place + 4], "little")] += 1
    return found


def _headers(file: BinaryIO) -> Iterator[_Header]:
    """Yield headers until the archive, or what is whole of it, ends."""
    archive_bytes = os.fstat(file.fileno()).st_size
    while True:
        start = file.tell()
        head = file.read(4 + MAX_NUMBER_BYTES)
        size, length = _number(head, 4)
        file.seek(start + length)
        content = file.read(size) if size <= MAX_HEADER_BYTES else b""
        if (
            not size
            or len(content) < size
            or zlib.crc32(head[4:length] + content) != int.from_bytes(head[:4], "little")
        ):
            return
        kind, place = _number(content, 0)
        flags, place = _number(content, place)
        extra, place = _number(content, place) if flags & EXTRA else (0, place)
        packed, place = _number(content, place) if flags & DATA else (0, place)
        if kind == END:
            return
        yield _Header(kind, flags, content[place : size - extra], content[size - extra :])
        if packed > archive_bytes:
            return
        file.seek(packed, 1)


def _records(extra: bytes) -> Iterator[int]:
    """Yield the types of the records behind a header."""
    place = 0
    while place < len(extra):
        size, place = _number(extra, place)
        yield _number(extra, place)[0]
        place += size


def _number(content: bytes, place: int) -> tuple[int, int]:
    """Return the number at a place and the place behind it; what is cut off counts as 0."""
    value = 0
    for shift, byte in enumerate(content[place : place + MAX_NUMBER_BYTES]):
        value |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            return value, place + shift + 1
    return 0, len(content)
