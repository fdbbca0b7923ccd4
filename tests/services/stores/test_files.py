"""Names and copies of finished files, with real links, and with a file system that has none."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from threading import get_ident

import pytest

from services.stores.files import finished_files, is_unfinished, link_file


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


def test_a_name_tells_what_is_unfinished() -> None:
    assert is_unfinished("A/.b.npy.12.34.tmp")
    assert is_unfinished(".checkpoint.pt.tmp")
    assert not any(map(is_unfinished, (".hidden/b.npy", "checkpoint.tmp", ".b.npy", "A.tmp/b")))


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
