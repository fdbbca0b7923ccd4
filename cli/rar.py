"""What a RAR archive says of the files in it, since not every program that unpacks it compares.

Facts of the format 4 (`cli.rar5` has those of 5): blocks follow a marker of 7 bytes; a block begins with its checksum,
type, flags and length; a file's block has two sizes and the CRC-32 of its content, and is followed by the packed
content.
"""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from pathlib import Path
from typing import BinaryIO

from cli import rar5

MARKER = b"Rar!\x1a\x07\x00"
ARCHIVE, FILE, END = 0x73, 0x74, 0x7B
ENCRYPTED_HEADERS = 0x80
CONTINUED, LARGE, FOLDER = 0x03, 0x100, 0xE0  # of a file's flags
HAS_DATA = 0x8000
BLOCK = struct.Struct("<HBHH")
SIZES_AND_CHECKSUM = struct.Struct("<IIBI")
HIGH_SIZES = struct.Struct("<II")
HIGH_SIZES_AT = 25  # bytes into the body of a file's block
CHUNK_BYTES = 1 << 20

Checksums = Counter[tuple[int, int]]
"""How many files there are of each size and CRC-32."""


def promised(archive: Path) -> Checksums | None:
    """Return what an archive says it holds; None where it has several volumes or does not tell of each file."""
    found: Checksums = Counter()
    with archive.open("rb") as file:
        marker = file.read(len(rar5.MARKER))
        if marker == rar5.MARKER:
            return rar5.promised(file)
        if not marker.startswith(MARKER):
            return None
        file.seek(len(MARKER))
        while (block := _read_block(file)) is not None:
            kind, flags, body = block
            if kind == END:
                break
            if kind == ARCHIVE and flags & ENCRYPTED_HEADERS:
                return None
            packed = struct.unpack_from("<I", body)[0] if flags & HAS_DATA else 0
            if kind == FILE:
                packed, size, checksum = _read_file(flags, body)
                if flags & CONTINUED:
                    return None
                if flags & FOLDER != FOLDER:
                    found[size, checksum] += 1
            file.seek(packed, 1)
    return found


def _read_block(file: BinaryIO) -> tuple[int, int, bytes] | None:
    """Return type, flags and body of the next block, or None where the file ends."""
    start = file.read(BLOCK.size)
    if len(start) < BLOCK.size:
        return None
    _, kind, flags, length = BLOCK.unpack(start)
    body = file.read(max(0, length - BLOCK.size))
    return kind, flags, body.ljust(HIGH_SIZES_AT + HIGH_SIZES.size, b"\0")


def _read_file(flags: int, body: bytes) -> tuple[int, int, int]:
    """Return the packed size, the size and the CRC-32 of a file."""
    packed, size, _, checksum = SIZES_AND_CHECKSUM.unpack_from(body)
    if flags & LARGE:
        high_packed, high_size = HIGH_SIZES.unpack_from(body, HIGH_SIZES_AT)
        packed, size = packed + (high_packed << 32), size + (high_size << 32)
    return packed, size, checksum


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
