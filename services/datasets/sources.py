"""The film or scene of a clip, by its name: clips of one are alike, and no independent samples."""

from __future__ import annotations

import re

from services.datasets.ucf101 import group_of

FILM_CLIP = re.compile(r"(?P<label>[^/]+)/(?P<title>.+)_(?P=label)_[a-z]_[a-z]{2}_np\d+_[a-z]{2}_[a-z]{3}_\d+(\.\w+)?")
"""All 6,766 names of HMDB51: a film's title, class, visible body, camera motion, people, view, quality and number.

Such as ``brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_0``. The owners kept clips of one film and class on one side of
each official split, so that these 2,291 groups are to HMDB51 what numbered groups are to UCF101.
"""


def film_of(path: str) -> str | None:
    """Return the title of the film that a clip of HMDB51 is from, by its id or path; None of other names."""
    found = FILM_CLIP.fullmatch(path)
    return found["title"] if found else None


def group_in_class(path: str) -> int | str | None:
    """Return the group of a clip among those of its class: UCF101's number, or the title of HMDB51's film.

    Args:
        path: of the clip below the root, or its id.
    """
    number = group_of(path)
    return film_of(path) if number is None else number


def source_of(clip: str) -> str | None:
    """Return what a clip shares with those like it: UCF101's class and group, HMDB51's film; None without.

    Args:
        clip: its id. UCF101 numbers the groups of each class by themselves, while a film may give clips to all classes.
    """
    number = group_of(clip)
    return film_of(clip) if number is None else f"{clip.rpartition('/')[0]}/{number}"
