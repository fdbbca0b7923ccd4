"""Names on disk and in the artifact store: nobody else puts one together or takes one apart.

artifact root and work root    ``stages/ab/abcd.../<attempt>/<name>/...``, what an attempt made
data root                      ``flow/ab/abcd....npy``, a clip under the hash of what made it
beside a file or folder        ``.<name>.<numbers>.tmp``, while it is being made
artifact root and data root    ``.trash/...``, what is on its way out
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple, Self

STAGES_FOLDER, TRASH_FOLDER = "stages", ".trash"
OUTPUT, STATE = "output", "state"
"""Folders of an attempt: what its stage is for, and what the next attempt can go on from."""
KEY_PATH = r"[0-9a-f]{2}/(?P<key>[0-9a-f]{64})"
"""The pattern of what `key_path` returns."""
_PLACE = re.compile(rf"{STAGES_FOLDER}/{KEY_PATH}/(?P<attempt>\d+)/(?P<name>\w+)(/.*)?")
_TEMPORARY = re.compile(r"\.(?P<name>.+?)(\.\d+)*\.tmp")


def key_path(key: str, suffix: str = "") -> str:
    """Return where a hash has its file or folder: below one of 256 folders, so that none gets too many entries."""
    return f"{key[:2]}/{key}{suffix}"


def stage_folder(key: str) -> str:
    """Return where all attempts at a stage have their folders."""
    return f"{STAGES_FOLDER}/{key_path(key)}"


class Place(NamedTuple):
    """A folder of an attempt, below the artifact root or the work root of a host.

    Attributes:
        key: the stage.
        attempt: its number.
        name: what the folder is to the stage: `OUTPUT` or `STATE`.
    """

    key: str
    attempt: int
    name: str

    @property
    def path(self) -> str:
        """Relative to the root."""
        return f"{stage_folder(self.key)}/{self.attempt}/{self.name}"

    @classmethod
    def of(cls, path: str) -> Self | None:
        """Return the place that a path is, or is in; None where it is no path of a stage."""
        found = _PLACE.fullmatch(path)
        return None if found is None else cls(found["key"], int(found["attempt"]), found["name"])


def temporary(target: Path, *numbers: int) -> Path:
    """Return where a file or folder is made, on the same file system, before it gets its name.

    Args:
        target: what it will be.
        numbers: of the process, and of its thread, where several may make the same at once.
    """
    return target.with_name(".".join(("", target.name, *map(str, numbers), "tmp")))


def finished_name(path: str) -> str | None:
    """Return what the name of a `temporary` file becomes; None for every other file."""
    folder, slash, name = path.rpartition("/")
    found = _TEMPORARY.fullmatch(name)
    return None if found is None else f"{folder}{slash}{found['name']}"


def is_unfinished(path: str) -> bool:
    """Tell by its name, such as ``.checkpoint.pt.tmp``, that a file is being written, or was left half-written."""
    return finished_name(path) is not None
