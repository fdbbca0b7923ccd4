"""Archives as the datasets' owners make them: RAR 4 whose files are stored, and ZIP."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping

MARKER = b"Rar!\x1a\x07\x00"
ARCHIVE_HEADER, FILE_HEADER, END = 0x73, 0x74, 0x7B
HAS_DATA, SKIPPED_IF_UNKNOWN, UNIX, VERSION, STORED, FILE_MODE = 0x8000, 0x4000, 3, 20, 0x30, 0o100644
TIME = 0x2A210000  # 1 January 2001, in DOS's count


def rar(files: Mapping[str, bytes]) -> bytes:
    """Return a RAR 4 archive of files by path."""
    content = MARKER + _block(ARCHIVE_HEADER, 0, bytes(6))
    for path, data in files.items():
        name = path.replace("/", "\\").encode()  # RAR 4 divides folders so on every system
        sizes = struct.pack("<II", len(data), len(data))  # packed and unpacked
        facts = struct.pack("<BIIBBHI", UNIX, zlib.crc32(data), TIME, VERSION, STORED, len(name), FILE_MODE)
        content += _block(FILE_HEADER, HAS_DATA, sizes + facts + name) + data
    return content + _block(END, SKIPPED_IF_UNKNOWN, b"")


def _block(kind: int, flags: int, body: bytes) -> bytes:
    head = struct.pack("<BHH", kind, flags, 7 + len(body)) + body
    return struct.pack("<H", zlib.crc32(head) & 0xFFFF) + head


def zipped(files: Mapping[str, bytes]) -> bytes:
    """Return a ZIP archive of files by path."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for path, data in files.items():
            archive.writestr(path, data)
    return content.getvalue()
