"""Archives that hold too much: refused by what they say of themselves, and stopped where they lie."""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from cli import archives
from cli.allowance import Allowance, Content
from cli.client import CommandError
from tests.cli.archives import PROGRAM, rar, zipped

FILES = {f"A/{number}.avi": bytes(1000) for number in range(8)}


def unpack(archive: Path, allowance: Allowance, *tools: Sequence[str]) -> None:
    archives.unpack(archive, archive.parent / "clips", allowance, tools or [PROGRAM])


@pytest.mark.parametrize("pack", [rar, zipped])
def test_what_an_archive_says_it_holds_is_refused_before_it_is_unpacked(
    tmp_path: Path, pack: Callable[[dict[str, bytes]], bytes]
) -> None:
    archive = tmp_path / "x.archive"
    content = bytearray(pack(FILES))
    content[500] ^= 1  # of the first file: who unpacks it says that it is damaged
    archive.write_bytes(content)
    with pytest.raises(CommandError, match=r"damaged|CRC"):
        unpack(archive, Allowance(8000, 100))
    with pytest.raises(CommandError, match=r"x\.archive: holds 8.00 KB or more, allowed: 8.00 KB; hint: --max-size"):
        unpack(archive, Allowance(7999, 100))
    with pytest.raises(CommandError, match=r"x\.archive: holds 8 files or more, allowed: 7; hint: --max-files"):
        unpack(archive, Allowance(10**6, 7))
    assert [path.name for path in tmp_path.iterdir()] == ["x.archive"]


@pytest.mark.parametrize("pack", [rar, zipped])
def test_what_is_just_allowed_is_unpacked(tmp_path: Path, pack: Callable[[dict[str, bytes]], bytes]) -> None:
    (tmp_path / "x.archive").write_bytes(pack(FILES))
    unpack(tmp_path / "x.archive", Allowance(8000, 9))  # the folder is the ninth
    assert len(list((tmp_path / "clips").rglob("*.avi"))) == 8


def test_archives_inside_count_with_what_is_around_them(tmp_path: Path) -> None:
    inner = rar(FILES)
    (tmp_path / "x.rar").write_bytes(rar({"a.rar": inner, "b.rar": inner}))
    whole = 2 * len(inner) + 2 * 8000
    with pytest.raises(CommandError, match=r"b\.rar: holds"):
        unpack(tmp_path / "x.rar", Allowance(whole - 1, 100))
    unpack(tmp_path / "x.rar", Allowance(whole, 100))
    assert len(list((tmp_path / "clips").rglob("*.avi"))) == 16


def test_a_zip_of_zeros_is_refused(tmp_path: Path) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(50_000_000))
    (tmp_path / "x.zip").write_bytes(content.getvalue())
    assert len(content.getvalue()) < 100_000
    with pytest.raises(CommandError, match=r"holds 50.0 MB or more, allowed: 1.00 MB"):
        unpack(tmp_path / "x.zip", Allowance(10**6, 100))


def unpack_by(code: str, tmp_path: Path, allowance: Allowance) -> None:
    """Have a program unpack something else than the archive's headers say."""
    (tmp_path / "x.rar").write_bytes(rar({"A/a.avi": b"a"}))
    unpack(tmp_path / "x.rar", allowance, (sys.executable, "-c", code))


def test_no_file_grows_beyond_what_is_allowed_whatever_the_headers_say(tmp_path: Path) -> None:
    code = "with open('zeros', 'wb') as file:\n    while True:\n        file.write(bytes(1 << 20))\n"
    with pytest.raises(CommandError, match=r"x\.rar: holds 5.00 MB or more, allowed: 5.00 MB"):
        unpack_by(code, tmp_path, Allowance(5 * 10**6, 100, poll_seconds=0.05))
    assert not (tmp_path / ".clips.tmp").exists()


@pytest.mark.parametrize(
    ("content", "words"), [("b''", "holds .* files or more"), ("bytes(100_000)", r"holds .* MB or more, allowed")]
)
def test_a_program_is_ended_while_it_unpacks_too_much(tmp_path: Path, content: str, words: str) -> None:
    code = f"import itertools, time\nfor number in itertools.count():\n    open(str(number), 'wb').write({content})\n"
    code += "    time.sleep(0.001)\n"
    with pytest.raises(CommandError, match=words):
        unpack_by(code, tmp_path, Allowance(10**6, 50, poll_seconds=0.05))
    assert not (tmp_path / ".clips.tmp").exists()


def test_a_header_that_says_less_than_there_is_does_not_help(tmp_path: Path) -> None:
    """RAR 4's headers have a size that no program needs to unpack."""
    (tmp_path / "x.rar").write_bytes(rar({"A/a.avi": bytes(10_000)}, size=1))
    with pytest.raises(CommandError, match=r"x\.rar: holds 5.00 KB or more, allowed: 5.00 KB"):
        unpack(tmp_path / "x.rar", Allowance(5000, 100))


def test_the_usual_allowance_is_generous() -> None:
    Allowance().take(Path("UCF101.rar"), Content(7 * 10**9, 13_421))
    Allowance().take(Path("hmdb51_org.rar"), Content(2 * 2_200_000_000, 7_000))
