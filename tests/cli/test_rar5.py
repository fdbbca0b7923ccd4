"""RAR 5 archives, written by the format's description: what their headers tell, and files that do not hold it."""

from __future__ import annotations

import sys
import zlib
from collections import Counter
from pathlib import Path

import pytest

from cli import archives, rar, rar5
from cli.client import CommandError

FILES = {"A/a.avi": b"a" * 300, "A/b.avi": b"b", "B/again.avi": b"b", "B/empty.avi": b""}
TIME, CHECKSUM = 0x02, 0x04


def number(value: int) -> bytes:
    return bytes([value]) if value < 0x80 else bytes([value & 0x7F | 0x80]) + number(value >> 7)


def block(kind: int, body: bytes = b"", data: bytes | None = None, extra: bytes = b"", flags: int = 0) -> bytes:
    flags |= (1 if extra else 0) | (0 if data is None else 2)
    content = number(kind) + number(flags) + (number(len(extra)) if extra else b"")
    content += (b"" if data is None else number(len(data))) + body + extra
    header = number(len(content)) + content
    return zlib.crc32(header).to_bytes(4, "little") + header + (data or b"")


def stored(path: str, data: bytes, *, flags: int = TIME | CHECKSUM, extra: bytes = b"", general: int = 0) -> bytes:
    body = number(flags) + number(len(data)) + number(0o644)
    body += bytes(4) if flags & TIME else b""
    body += zlib.crc32(data).to_bytes(4, "little") if flags & CHECKSUM else b""
    return block(2, body + number(0) + number(1) + number(len(path)) + path.encode(), data, extra, general)


def archive(*blocks: bytes) -> bytes:
    return rar5.MARKER + block(1, number(0)) + b"".join(blocks) + block(5, number(0))


def whole() -> bytes:
    folder = block(2, number(1) + number(0) + number(0o755) + number(0) + number(1) + number(1) + b"A")
    service = block(3, number(0) + number(5) + number(0) + number(0) + number(1) + number(2) + b"QO", b"quick")
    return archive(folder, *(stored(path, data) for path, data in FILES.items()), service)


def test_headers_tell_size_and_checksum(tmp_path: Path) -> None:
    (tmp_path / "x.rar").write_bytes(whole())
    expected = Counter((len(data), zlib.crc32(data)) for data in FILES.values())
    assert rar.promised(tmp_path / "x.rar") == expected
    without_time = archive(*(stored(path, data, flags=CHECKSUM) for path, data in FILES.items()))
    (tmp_path / "x.rar").write_bytes(without_time)
    assert rar.promised(tmp_path / "x.rar") == expected


@pytest.mark.parametrize(
    "content",
    [
        archive(stored("a", b"a"), stored("b", b"b", flags=TIME)),  # BLAKE2 instead
        archive(stored("a", b"a", flags=TIME | CHECKSUM | 0x08)),
        archive(stored("a", b"a", general=0x10)),
        archive(stored("a", b"a", extra=number(2) + number(3) + b"x" + number(3) + number(5) + b"to")),
        archive(stored("a", b"a", extra=number(1) + number(1))),
        archive(block(4, number(0)), b"encrypted"),
    ],
    ids=["other checksum", "unknown size", "volumes", "link", "encrypted file", "encrypted headers"],
)
def test_an_archive_that_does_not_tell_of_each_file_is_not_compared(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.rar").write_bytes(content)
    assert rar.promised(tmp_path / "x.rar") is None


def test_an_archive_that_ends_early_or_is_damaged_tells_of_what_is_whole(tmp_path: Path) -> None:
    content = whole()
    for end in range(len(content)):
        (tmp_path / "x.rar").write_bytes(content[:end])
        assert (rar.promised(tmp_path / "x.rar") or Counter()) <= Counter(
            (len(data), zlib.crc32(data)) for data in FILES.values()
        )
    for wrong in (b"\xff" * 9 + b"\x01", block(9, data=b"")[:-1] + b"\x7f", block(9, b"")[4:]):
        (tmp_path / "x.rar").write_bytes(rar5.MARKER + bytes(4) + wrong)
        assert rar.promised(tmp_path / "x.rar") == Counter()
    far = number(3) + number(2) + number((1 << 69) - 1)  # packed bytes that no file has
    header = number(len(far)) + far
    (tmp_path / "x.rar").write_bytes(rar5.MARKER + zlib.crc32(header).to_bytes(4, "little") + header)
    assert rar.promised(tmp_path / "x.rar") == Counter()
    (tmp_path / "x.rar").write_bytes(content.replace(b"b.avi", b"x.avi"))
    assert rar.promised(tmp_path / "x.rar") == Counter({(300, zlib.crc32(b"a" * 300)): 1})


def test_a_file_that_a_program_damaged_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "unpack.py"
    script.write_text("from pathlib import Path\nPath('a.avi').write_bytes(b'a' * 299 + b'x')\n")
    monkeypatch.setattr(archives, "TOOLS", ((sys.executable, str(script)),))
    (tmp_path / "x.rar").write_bytes(archive(stored("a.avi", b"a" * 300)))
    with pytest.raises(CommandError, match="lost or damaged 1 files by the archive's checksums"):
        archives.unpack(tmp_path / "x.rar", tmp_path / "clips")
    assert not (tmp_path / "clips").exists()
