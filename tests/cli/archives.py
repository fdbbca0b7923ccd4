"""Archives as the datasets' owners make them: RAR 4 whose files are stored, and ZIP.

Run with the path of such a RAR archive, it unpacks that into the working folder, where no RAR program is installed.
"""

from __future__ import annotations

import io
import struct
import sys
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

MARKER = b"Rar!\x1a\x07\x00"
ARCHIVE_HEADER, FILE_HEADER, COMMENT, END = 0x73, 0x74, 0x7A, 0x7B
HAS_DATA, SKIPPED_IF_UNKNOWN, UNIX, VERSION, STORED, PACKED, FILE_MODE = 0x8000, 0x4000, 3, 20, 0x30, 0x33, 0o100644
HEAD, FACTS = struct.Struct("<BHH"), struct.Struct("<IIBIIBBHI")
PROGRAM = (sys.executable, __file__)
TIME = 0x2A210000  # 1 January 2001, in DOS's count


def rar(
    files: Mapping[str, bytes],
    *,
    archive_flags: int = 0,
    file_flags: int = 0,
    mode: int = FILE_MODE,
    size: int | None = None,
    comment: bytes = b"",
) -> bytes:
    """Return a RAR 4 archive of files by path.

    What it says of a file's size may be wrong; a comment is taken as it is and called packed.
    """
    content = MARKER + _block(ARCHIVE_HEADER, archive_flags, bytes(6))
    if comment:
        facts = FACTS.pack(len(comment), len(comment), UNIX, zlib.crc32(comment), TIME, VERSION, PACKED, 3, 0)
        content += _block(COMMENT, HAS_DATA, facts + b"CMT") + comment
    for path, data in files.items():
        name = path.replace("/", "\\").encode()  # RAR 4 divides folders so on every system
        said = len(data) if size is None else size
        facts = FACTS.pack(len(data), said, UNIX, zlib.crc32(data), TIME, VERSION, STORED, len(name), mode)
        content += _block(FILE_HEADER, HAS_DATA | file_flags, facts + name) + data
    return content + _block(END, SKIPPED_IF_UNKNOWN, b"")


def _block(kind: int, flags: int, body: bytes) -> bytes:
    head = HEAD.pack(kind, flags, 7 + len(body)) + body
    return struct.pack("<H", zlib.crc32(head) & 0xFFFF) + head


def unrar(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield path and content of each file of an archive that `rar` has made."""
    place = len(MARKER)
    while place < len(content):
        kind, _, length = HEAD.unpack_from(content, place + 2)
        body, place = content[place + 7 : place + length], place + length
        if kind == FILE_HEADER:
            size = FACTS.unpack_from(body)[0]
            yield body[FACTS.size :].decode().replace("\\", "/"), content[place : place + size]
            place += size


def zipped(files: Mapping[str, bytes]) -> bytes:
    """Return a ZIP archive of files by path."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for path, data in files.items():
            archive.writestr(path, data)
    return content.getvalue()


if __name__ == "__main__":
    for name, data in unrar(Path(sys.argv[1]).read_bytes()):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(data)
