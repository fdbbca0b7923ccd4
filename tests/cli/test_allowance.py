"""Archives that hold too much: refused by what they say of themselves, and stopped where they lie."""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from cli import allowance, archives
from cli.allowance import Allowance, Content
from cli.client import CommandError
from tests.cli.archives import PROGRAM, rar, zipped

FILES = {f"A/{number}.avi": bytes(1000) for number in range(8)}


@pytest.fixture(autouse=True)
def _own_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "TOOLS", (PROGRAM,))


@pytest.mark.parametrize("pack", [rar, zipped])
def test_what_an_archive_says_it_holds_is_refused_before_it_is_unpacked(
    tmp_path: Path, pack: Callable[[dict[str, bytes]], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "x.archive"
    archive.write_bytes(pack(FILES))
    monkeypatch.setattr(Allowance, "run", None)  # any use of it fails
    monkeypatch.setattr(zipfile.ZipFile, "extractall", None)
    with pytest.raises(CommandError, match=r"x\.archive: holds 8.00 KB or more, allowed: 8.00 KB; hint: --max-size"):
        archives.unpack(archive, tmp_path / "clips", Allowance(7999, 100))
    with pytest.raises(CommandError, match=r"x\.archive: holds 8 files or more, allowed: 7; hint: --max-files"):
        archives.unpack(archive, tmp_path / "clips", Allowance(10**6, 7))
    assert [path.name for path in tmp_path.iterdir()] == ["x.archive"]


@pytest.mark.parametrize("pack", [rar, zipped])
def test_what_is_just_allowed_is_unpacked(tmp_path: Path, pack: Callable[[dict[str, bytes]], bytes]) -> None:
    (tmp_path / "x.archive").write_bytes(pack(FILES))
    archives.unpack(tmp_path / "x.archive", tmp_path / "clips", Allowance(8000, 9))  # the folder is the ninth
    assert len(list((tmp_path / "clips").rglob("*.avi"))) == 8


def test_archives_inside_count_with_what_is_around_them(tmp_path: Path) -> None:
    inner = rar(FILES)
    (tmp_path / "x.rar").write_bytes(rar({"a.rar": inner, "b.rar": inner}))
    whole = 2 * len(inner) + 2 * 8000
    with pytest.raises(CommandError, match=r"b\.rar: holds"):
        archives.unpack(tmp_path / "x.rar", tmp_path / "clips", Allowance(whole - 1, 100))
    archives.unpack(tmp_path / "x.rar", tmp_path / "clips", Allowance(whole, 100))
    assert len(list((tmp_path / "clips").rglob("*.avi"))) == 16


def test_a_zip_of_zeros_is_refused(tmp_path: Path) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(50_000_000))
    (tmp_path / "x.zip").write_bytes(content.getvalue())
    assert len(content.getvalue()) < 100_000
    with pytest.raises(CommandError, match=r"holds 50.0 MB or more, allowed: 1.00 MB"):
        archives.unpack(tmp_path / "x.zip", tmp_path / "clips", Allowance(10**6, 100))


def program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: str) -> None:
    """Have a program unpack something else than the archive's headers say."""
    file = tmp_path / "program.py"
    file.write_text(code)
    monkeypatch.setattr(archives, "TOOLS", ((sys.executable, str(file)),))
    monkeypatch.setattr(allowance, "POLL_SECONDS", 0.05)
    (tmp_path / "x.rar").write_bytes(rar({"A/a.avi": b"a"}))


def test_no_file_grows_beyond_what_is_allowed_whatever_the_headers_say(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program(
        monkeypatch,
        tmp_path,
        "with open('zeros', 'wb') as file:\n    while True:\n        file.write(bytes(1 << 20))\n",
    )
    with pytest.raises(CommandError, match=r"x\.rar: holds 5.00 MB or more, allowed: 5.00 MB"):
        archives.unpack(tmp_path / "x.rar", tmp_path / "clips", Allowance(5 * 10**6, 100))
    assert not (tmp_path / ".clips.tmp").exists()


@pytest.mark.parametrize(
    ("content", "words"), [("b''", "holds .* files or more"), ("bytes(100_000)", r"holds .* MB or more, allowed")]
)
def test_a_program_is_ended_while_it_unpacks_too_much(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str, words: str
) -> None:
    code = f"import itertools, time\nfor number in itertools.count():\n    open(str(number), 'wb').write({content})\n"
    program(monkeypatch, tmp_path, code + "    time.sleep(0.001)\n")
    with pytest.raises(CommandError, match=words):
        archives.unpack(tmp_path / "x.rar", tmp_path / "clips", Allowance(10**6, 50))
    assert not (tmp_path / ".clips.tmp").exists()


def test_a_header_that_says_less_than_there_is_does_not_help(tmp_path: Path) -> None:
    """RAR 4's headers have a size that no program needs to unpack."""
    (tmp_path / "x.rar").write_bytes(rar({"A/a.avi": bytes(10_000)}, size=1))
    with pytest.raises(CommandError, match=r"x\.rar: holds 5.00 KB or more, allowed: 5.00 KB"):
        archives.unpack(tmp_path / "x.rar", tmp_path / "clips", Allowance(5000, 100))


def test_the_usual_allowance_is_generous() -> None:
    Allowance().take(Path("UCF101.rar"), Content(7 * 10**9, 13_421))
    Allowance().take(Path("hmdb51_org.rar"), Content(2 * 2_200_000_000, 7_000))
