"""Names and copies of finished files, with real links, and with a file system that has none."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path
from threading import get_ident

import pytest

from services.stores.files import empty_trash, finished_files, link_file, remove, trash, write_atomically


@pytest.fixture
def no_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "finished").write_text("precious")
    (tmp_path / f".target.{os.getpid()}.7.tmp").hardlink_to(tmp_path / "finished")  # left by a killed process

    def refuse(source: Path, target: Path) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr("os.link", refuse)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source").write_text("new")
    return tmp_path / "source"


def test_a_link_is_the_same_file_and_stays_it(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "deep" / "target"
    link_file(source, target)
    before = target.stat()
    link_file(source, target)
    assert target.samefile(source)
    assert target.stat().st_ctime_ns == before.st_ctime_ns  # neither unlinked nor linked again
    assert [*finished_files(tmp_path)] == ["deep/target", "source"]


@pytest.mark.usefixtures("no_links")
def test_a_copy_that_breaks_off_leaves_what_was_there(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "target"
    target.write_text("old")

    def half(source: Path, target: Path) -> None:
        Path(target).write_text("n")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copy2", half)
        with pytest.raises(OSError, match="No space"):
            link_file(source, target)
    assert target.read_text() == "old"
    assert [*finished_files(tmp_path)] == ["finished", "source", "target"]
    assert not [*tmp_path.glob(f".target.{os.getpid()}.{get_ident()}.tmp")]  # a full disk is not kept full
    link_file(source, target)
    assert target.read_text() == "new"
    assert not target.samefile(source)
    assert not [*tmp_path.glob(f".target.{os.getpid()}.{get_ident()}.tmp")]


@pytest.mark.usefixtures("no_links")
def test_a_link_that_a_killed_process_left_is_not_written_into(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("threading.get_ident", lambda: 7)
    link_file(source, tmp_path / "target")
    assert [(tmp_path / name).read_text() for name in ("finished", "target")] == ["precious", "new"]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing"):
        link_file(tmp_path / "nothing", tmp_path / "target")
    assert not [*tmp_path.iterdir()]


def test_what_is_taken_away_lies_in_the_trash_until_that_is_emptied(tmp_path: Path) -> None:
    for name in ("kept", "gone"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    moved = trash(tmp_path / "kept", tmp_path)
    assert moved.parent == tmp_path / ".trash"
    assert (moved / "file").read_text() == "kept"
    remove(tmp_path / "gone", tmp_path)
    remove(tmp_path / "nothing", tmp_path)
    assert [*tmp_path.iterdir()] == [tmp_path / ".trash"]
    assert [*moved.parent.iterdir()] == [moved]
    empty_trash(tmp_path)
    assert [*tmp_path.iterdir()] == []


def test_a_secret_is_private_whatever_a_killed_process_left(tmp_path: Path) -> None:
    (tmp_path / f".secret.{os.getpid()}.tmp").touch(mode=0o644)
    write_atomically(tmp_path / "secret", b"1", mode=0o600)
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600
    assert [*finished_files(tmp_path)] == ["secret"]
