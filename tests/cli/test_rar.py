"""What RAR archives, written by the descriptions of the formats 4 and 5, say of the files in them."""

from __future__ import annotations

import zlib
from collections import Counter
from pathlib import Path

import pytest

from cli.client import CommandError
from cli.rar import promised, unpacked
from tests.cli.archives import rar as rar4

FILES = {"A/a.avi": b"a" * 300, "A/b.avi": b"b", "B/again.avi": b"b", "B/empty.avi": b""}
EXPECTED = Counter((len(data), zlib.crc32(data)) for data in FILES.values())
MARKER = b"Rar!\x1a\x07\x01\x00"
MAIN, FILE, SERVICE, ENCRYPTION, END = range(1, 6)
TIME, CHECKSUM = 0x02, 0x04
ENCRYPTED, REDIRECTED, LINK, COPY = 1, 5, 1, 5


def number(value: int) -> bytes:
    return bytes([value]) if value < 0x80 else bytes([value & 0x7F | 0x80]) + number(value >> 7)


def text(value: str) -> bytes:
    return number(len(value)) + value.encode()


def block(kind: int, body: bytes = b"", data: bytes | None = None, extra: bytes = b"", flags: int = 0) -> bytes:
    flags |= (1 if extra else 0) | (0 if data is None else 2)
    content = number(kind) + number(flags) + (number(len(extra)) if extra else b"")
    content += (b"" if data is None else number(len(data))) + body + extra
    header = number(len(content)) + content
    return zlib.crc32(header).to_bytes(4, "little") + header + (data or b"")


def record(kind: int, content: bytes) -> bytes:
    return number(len(number(kind) + content)) + number(kind) + content


def stored(path: str, data: bytes, *, flags: int = TIME | CHECKSUM, extra: bytes = b"", general: int = 0) -> bytes:
    body = number(flags) + number(len(data)) + number(0o644)
    body += bytes(4) if flags & TIME else b""
    body += zlib.crc32(data).to_bytes(4, "little") if flags & CHECKSUM else b""
    return block(FILE, body + number(0) + number(1) + text(path), data, extra, general)


def redirected(path: str, kind: int, target: str) -> bytes:
    return stored(path, b"", extra=record(REDIRECTED, number(kind) + number(0) + text(target)))


def rar5(*blocks: bytes, main: int = 0) -> bytes:
    return MARKER + block(MAIN, number(main)) + b"".join(blocks) + block(END, number(0))


def whole() -> bytes:
    folder = block(FILE, number(1) + number(0) + number(0o755) + number(0) + number(1) + text("A"))
    service = block(SERVICE, number(0) + number(5) + number(0) + number(0) + number(1) + text("QO"), b"quick")
    return rar5(folder, *(stored(path, data) for path, data in FILES.items()), service)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return tmp_path / "x.rar"


@pytest.mark.parametrize(
    "content",
    [rar4(FILES), whole(), rar5(*(stored(path, data, flags=CHECKSUM) for path, data in FILES.items()))],
    ids=["4", "5", "5 without times"],
)
def test_headers_tell_size_and_checksum(archive: Path, content: bytes) -> None:
    archive.write_bytes(content)
    assert promised(archive) == EXPECTED


def test_a_copy_counts_as_what_it_is_a_copy_of_and_a_path_once(archive: Path) -> None:
    archive.write_bytes(rar5(stored("a", b"old"), stored("a", b"new"), redirected("b", COPY, "a")))
    assert promised(archive) == Counter({(3, zlib.crc32(b"new")): 2})


def test_an_archive_with_other_checksums_is_not_compared(archive: Path) -> None:
    archive.write_bytes(rar5(stored("a", b"a"), stored("b", b"b", flags=TIME)))  # BLAKE2 instead
    assert promised(archive) is None


VOLUME_5, VOLUME_4, LOCKED_4, LOCKED_FILE_4 = 0x01, 0x0001, 0x0080, 0x0004
SALTS = number(0) + number(0) + bytes([15]) + bytes(32)
REFUSED = {
    "5: encrypted file": (rar5(stored("a", b"a", extra=record(ENCRYPTED, SALTS))), "needs a password"),
    "5: encrypted headers": (rar5(block(ENCRYPTION, SALTS[:19]), b"encrypted"), "needs a password"),
    "4: encrypted file": (rar4({"a": b"a"}, file_flags=LOCKED_FILE_4), "needs a password"),
    "4: encrypted headers": (rar4({"a": b"a"}, archive_flags=LOCKED_4), "needs a password"),
    "5: a volume": (rar5(stored("a", b"a", general=0x10), main=VOLUME_5), "is one of several volumes, allowed: arch"),
    "4: a volume": (rar4({"a": b"a"}, archive_flags=VOLUME_4), "is one of several volumes, allowed: archives of one"),
    "5: a link": (rar5(stored("a", b"a"), redirected("b", LINK, "/etc")), "holds the link 'b', allowed: files and"),
    "4: a link": (rar4({"b": b"/etc"}, mode=0o120777), "holds the link 'b', allowed: files and folders"),
    "5: a copy of nothing": (rar5(redirected("b", COPY, "a")), "No such file: a; hint: remove it"),
    "5: a header that was changed": (whole().replace(b"b.avi", b"x.avi"), "CRC error"),
    "4: a header that was changed": (rar4(FILES).replace(b"b.avi", b"x.avi"), "CRC error"),
    "5: no end": (whole()[:-8], "Unexpected EOF"),
    "4: cut in a header": (rar4(FILES)[:-9], "Unexpected EOF"),
    "of an unknown version": (b"Rar!\x1a\x07\x02\x00", "Not a RAR file; hint: remove it, and run this again"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_unpacked_whole_is_refused_by_its_headers(archive: Path, case: str) -> None:
    content, words = REFUSED[case]
    archive.write_bytes(content)
    with pytest.raises(CommandError, match=rf"x\.rar: .*{words}"):
        promised(archive)


def test_headers_that_end_early_or_are_damaged_are_answered_with_an_error_of_ours(archive: Path) -> None:
    content = whole()
    for end in range(len(content)):
        archive.write_bytes(content[:end])
        with pytest.raises(CommandError, match=r"x\.rar: .*; hint: remove it"):
            promised(archive)
    for packed_bytes in ((1 << 63) - 1, 1 << 69):  # more than any file has, and any number of the system
        facts = number(CHECKSUM) + number(1) + number(0o644) + bytes(4) + number(0) + number(1) + text("a")
        header = number(FILE) + number(2) + number(packed_bytes) + facts
        header = number(len(header)) + header
        archive.write_bytes(MARKER + zlib.crc32(header).to_bytes(4, "little") + header)
        with pytest.raises(CommandError, match=r"x\.rar: .*; hint: remove it"):
            promised(archive)


def test_no_program_is_asked_for_a_packed_comment(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    archive.write_bytes(rar4({"a": b"a"}, comment=b"packed"))
    assert promised(archive) == Counter({(1, zlib.crc32(b"a")): 1})


def test_what_lies_in_a_folder_is_counted_by_size_and_checksum(tmp_path: Path) -> None:
    for path, data in FILES.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(data)
    assert unpacked(tmp_path) == EXPECTED
