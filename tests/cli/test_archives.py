"""Archives inside archives, by the RAR programs of this machine."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path

import pytest

from cli import archives
from cli.client import CommandError
from tests.cli.archives import PROGRAM, rar, zipped

CLIPS = {"brush_hair/a (1)!#[x]&+;~@.avi": b"a" * 3000, "brush_hair/b.avi": b"b", "cartwheel/c.avi": b"c"}
PROGRAMS = [PROGRAM, *(command for command in archives.TOOLS if command[0] in ("unrar", "unar", "bsdtar"))]
"""Of the tests, and those of this machine; 7-Zip reads RAR with a codec that Debian leaves out."""


def hmdb51() -> bytes:
    """An archive of one archive for each class."""
    classes = {path.partition("/")[0] for path in CLIPS}
    return rar({f"{name}.rar": rar({p: c for p, c in CLIPS.items() if p.startswith(name)}) for name in classes})


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(params=PROGRAMS, ids=lambda command: Path(command[0]).stem)
def tool(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """The only program that is asked."""
    command: tuple[str, ...] = request.param
    if not shutil.which(command[0]):
        pytest.skip(f"{command[0]} is not installed")
    return command


def test_archives_inside_a_rar_become_folders_of_classes(tool: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "hmdb51_org.rar").write_bytes(hmdb51())
    archives.unpack(tmp_path / "hmdb51_org.rar", tmp_path / "clips", tools=[tool])
    assert contents(tmp_path / "clips") == CLIPS
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clips", "hmdb51_org.rar"]


def test_clips_without_a_folder_get_one_of_their_archives_name(tool: tuple[str, ...], tmp_path: Path) -> None:
    flat = {f"{path.rpartition('/')[2]}": content for path, content in CLIPS.items() if path.startswith("brush_hair")}
    (tmp_path / "all.rar").write_bytes(
        rar({"org/brush_hair.rar": rar(flat), "org/cartwheel.rar": rar({"c.avi": b"c"})})
    )
    archives.unpack(tmp_path / "all.rar", tmp_path / "clips", tools=[tool])
    assert contents(tmp_path / "clips") == CLIPS


def test_a_damaged_rar_leaves_no_folder(tool: tuple[str, ...], tmp_path: Path) -> None:
    content = bytearray(rar({"A/a.avi": b"a" * 3000}))
    content[2000] ^= 1
    (tmp_path / "x.rar").write_bytes(content)
    with pytest.raises(CommandError, match=rf"x\.rar: {tool[0]} "):
        archives.unpack(tmp_path / "x.rar", tmp_path / "clips", tools=[tool])
    assert not (tmp_path / "clips").exists()


def test_a_damaged_zip_leaves_no_folder(tmp_path: Path) -> None:
    content = bytearray(zipped({"A/a.avi": b"a" * 3000}))
    content[2000] ^= 1
    (tmp_path / "x.zip").write_bytes(content)
    with pytest.raises(CommandError, match=r"x\.zip: Bad CRC-32"):
        archives.unpack(tmp_path / "x.zip", tmp_path / "clips")
    assert not (tmp_path / "clips").exists()


def program(path: Path, *lines: str) -> tuple[str, ...]:
    """Write a program of the shell, and return its command."""
    path.write_text("\n".join(("#!/bin/sh", *lines, "")))
    path.chmod(0o755)
    return (str(path),)


def test_a_program_that_fails_is_followed_by_the_next(tool: tuple[str, ...], tmp_path: Path) -> None:
    failing = program(tmp_path / "failing-rar", "echo half > half.avi", "echo no codec >&2", "exit 2")
    (tmp_path / "hmdb51_org.rar").write_bytes(hmdb51())
    archives.unpack(tmp_path / "hmdb51_org.rar", tmp_path / "clips", tools=[failing, tool])
    assert contents(tmp_path / "clips") == CLIPS


def test_every_program_that_failed_is_named(tmp_path: Path) -> None:
    failing = program(tmp_path / "failing-rar", "echo no codec >&2", "exit 2")
    (tmp_path / "x.rar").write_bytes(hmdb51())
    with pytest.raises(CommandError, match=r"failing-rar ended with 2 \(no codec\); hint: apt install unar"):
        archives.unpack(tmp_path / "x.rar", tmp_path / "clips", tools=[failing])


def test_a_program_that_asks_for_a_password_gets_none(tmp_path: Path) -> None:
    asking = program(tmp_path / "asking-rar", "readlink /proc/self/fd/0 >&2", "exit 3")
    (tmp_path / "x.rar").write_bytes(hmdb51())
    ours, ends = os.dup(0), os.pipe()
    os.dup2(ends[0], 0)  # somebody might type
    try:
        with pytest.raises(CommandError, match=r"asking-rar ended with 3 \(/dev/null\)"):
            archives.unpack(tmp_path / "x.rar", tmp_path / "clips", tools=[asking])
    finally:
        os.dup2(ours, 0)
        for file in (ours, *ends):
            os.close(file)


def test_without_a_program_the_message_names_them(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", "")
    (tmp_path / "x.rar").write_bytes(hmdb51())
    with pytest.raises(CommandError, match="needs one of unrar, unar, 7zz, 7z, bsdtar, and none is installed"):
        archives.unpack(tmp_path / "x.rar", tmp_path / "clips")


def test_a_page_that_was_saved_as_an_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.rar").write_text("<html>not found</html>")
    with pytest.raises(CommandError, match=r"begins with b'<html>', allowed: ZIP, RAR"):
        archives.unpack(tmp_path / "x.rar", tmp_path / "clips")


def test_a_zip_that_was_cut_short_or_locked_is_named_so(tmp_path: Path) -> None:
    whole = zipped({"A/a.avi": b"a" * 3000})
    locked = bytearray(whole)
    for start, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        locked[whole.index(start) + flags] |= 1
    for content, words in ((whole[:2000], "File is not a zip file"), (bytes(locked), "is encrypted")):
        (tmp_path / "x.zip").write_bytes(content)
        with pytest.raises(CommandError, match=rf"x\.zip: .*{words}.*; hint: remove it"):
            archives.unpack(tmp_path / "x.zip", tmp_path / "clips")
    assert {path.name for path in tmp_path.iterdir()} == {"x.zip"}  # what was unpacked takes no disk


def test_what_macos_adds_is_no_part_of_the_dataset(tmp_path: Path) -> None:
    beside = {"__MACOSX/._lists": b"m", "__MACOSX/lists/._a.txt": b"m", ".DS_Store": b"m"}
    (tmp_path / "x.zip").write_bytes(zipped({"lists/a.txt": b"a", "lists/b.txt": b"b"} | beside))
    archives.unpack(tmp_path / "x.zip", tmp_path / "lists")
    assert contents(tmp_path / "lists") == {"a.txt": b"a", "b.txt": b"b"}


def test_nothing_of_an_archive_lies_outside_its_folder(tmp_path: Path) -> None:
    hostile = {"../../evil.avi": b"e", f"{tmp_path}/evil.avi": b"e", "A/a.avi": b"a"}
    (tmp_path / "x.zip").write_bytes(zipped(hostile))
    archives.unpack(tmp_path / "x.zip", tmp_path / "clips")
    assert {path.name for path in tmp_path.iterdir()} == {"x.zip", "clips"}


def test_a_link_out_of_the_archive_is_refused(tmp_path: Path) -> None:
    linking = program(
        tmp_path / "linking-rar", f"ln -s {shlex.quote(str(tmp_path / 'mine'))} clips"
    )  # whatever the headers say
    (tmp_path / "mine" / "only").mkdir(parents=True)
    (tmp_path / "x.rar").write_bytes(rar({"A/a.avi": b"a"}))
    with pytest.raises(CommandError, match=r"x\.rar: holds the link 'clips', allowed: files and folders"):
        archives.unpack(tmp_path / "x.rar", tmp_path / "clips", tools=[linking])
    assert (tmp_path / "mine" / "only").is_dir()
    assert not (tmp_path / "clips").exists()


def test_a_file_that_a_program_damaged_is_noticed(tmp_path: Path) -> None:
    damaging = program(tmp_path / "damaging-rar", "printf aaax > a.avi")
    (tmp_path / "x.rar").write_bytes(rar({"a.avi": b"aaaa"}))
    with pytest.raises(CommandError, match="lost or damaged 1 file by the archive's checksums"):
        archives.unpack(tmp_path / "x.rar", tmp_path / "clips", tools=[damaging])
    assert not (tmp_path / "clips").exists()


def test_what_an_interrupted_run_left_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(zipped(CLIPS))
    (tmp_path / ".clips.tmp" / "all").mkdir(parents=True)
    (tmp_path / ".clips.tmp" / "all" / "half.avi").write_bytes(b"half")
    archives.unpack(tmp_path / "x.zip", tmp_path / "clips")
    assert contents(tmp_path / "clips") == CLIPS
