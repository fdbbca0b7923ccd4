"""The clips that lie below a folder."""

from __future__ import annotations

from pathlib import Path

CLIP_SUFFIXES = {".avi", ".mp4", ".mkv", ".mov", ".webm"}


def clip_files(root: Path) -> set[str]:
    """Return the paths of all clips below a folder, relative to it; hidden files are none."""
    return {
        path.relative_to(root).as_posix()
        for path in root.rglob("*")
        if path.suffix.lower() in CLIP_SUFFIXES and not path.name.startswith(".")
    }
