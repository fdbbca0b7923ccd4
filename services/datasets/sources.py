"""The film or scene of a clip, by its name: clips of one are alike, and no independent samples."""

from __future__ import annotations

import re

from services.datasets.ucf101 import group_of

TITLE = re.compile(r"(?P<label>[^/]+)/(?P<title>.+?)_(?P=label)_")
"""Of HMDB51's names, such as ``brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_0``: those of one title share a film."""


def source_of(clip: str) -> str | None:
    """Return what a clip shares with those like it: UCF101's class and group, HMDB51's title; None without.

    Args:
        clip: its id. UCF101 numbers the groups of each class by themselves, while a film may give clips to all classes.
    """
    number = group_of(f"{clip}.avi")
    if number is not None:
        return f"{clip.rpartition('/')[0]}/{number}"
    title = TITLE.match(clip)
    return title["title"] if title else None
