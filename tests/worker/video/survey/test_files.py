"""Which files below a root are clips."""

from __future__ import annotations

import os
from pathlib import Path

from worker.video.survey.files import clip_files


def links(root: Path) -> None:
    (root.parent / "elsewhere").mkdir()
    (root.parent / "elsewhere/deep").mkdir()
    (root.parent / "elsewhere/b.avi").touch()
    (root.parent / "elsewhere/deep/c.mp4").touch()
    (root / "A").mkdir(parents=True)
    (root / "A/a.avi").touch()
    (root / "B").symlink_to(root.parent / "elsewhere")
    (root / "C").symlink_to("A")


def test_clips_behind_linked_folders_are_found(tmp_path: Path) -> None:
    root = tmp_path / "clips"
    links(root)
    assert clip_files(root) == {"A/a.avi", "B/b.avi", "B/deep/c.mp4", "C/a.avi"}
    (tmp_path / "by_link").symlink_to(root)
    assert clip_files(tmp_path / "by_link") == clip_files(root)


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    root = tmp_path / "clips"
    links(root)
    (root / "A/up").symlink_to(root)
    (root / "A/self").symlink_to("self")
    (root / "B/deep/back").symlink_to(root.parent / "elsewhere")
    assert clip_files(root) == {"A/a.avi", "B/b.avi", "B/deep/c.mp4", "C/a.avi"}


def test_what_is_no_file_is_no_clip(tmp_path: Path) -> None:
    (tmp_path / "gone.avi").symlink_to("nowhere")
    (tmp_path / "folder.avi").mkdir()
    os.mkfifo(tmp_path / "pipe.avi")
    (tmp_path / "linked.avi").symlink_to(__file__)
    assert clip_files(tmp_path) == {"linked.avi"}
