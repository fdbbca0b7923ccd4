"""Reads what the linter is to know of a dataset: its lists, and whether its clips are there."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from services import registry
from services.datasets.annotations import Annotations
from services.datasets.layouts import LAYOUTS, Layout
from services.datasets.lists import read_lists
from services.db.engine import Database
from services.errors import DataError
from services.planning.linter import Facts


def look(database: Database, name: str, seen: registry.Seen) -> Facts:
    """Return what this host can see of a dataset; nothing of one that is unknown, generated, or wrong in itself.

    Call it outside a transaction: it reads files.

    Args:
        database: where the dataset is registered.
        name: of the dataset.
        seen: the hash of its lists as they are now, see ``registry.look_again``.
    """
    if not isinstance(seen, str):
        return Facts()
    with database.transaction() as session:
        row = registry.find(session, name)
    if row is None or row.generator is not None:
        return Facts()
    layout = next(layout for layout in LAYOUTS if layout == row.layout)
    annotations = _lists(layout, row.annotations, tuple(row.excluded), seen)
    return Facts(annotations) if annotations is None else Facts(annotations, missing=_missing(row.root, annotations))


@lru_cache(maxsize=8)
def _lists(layout: Layout, folder: str, excluded: tuple[str, ...], digest: str) -> Annotations | None:
    """Return lists that have a hash; read once for each."""
    try:
        lists = read_lists(layout, folder, excluded)
    except DataError:  # told by whoever registers or indexes them
        return None
    return None if lists is None or lists.digest != digest else lists.annotations


def _missing(root: str, annotations: Annotations) -> tuple[str, ...]:
    """Return the clips that the lists use and a folder lacks; nothing where this host does not have the folder."""
    if not Path(root).is_dir():
        return ()
    there: dict[str, set[str]] = {}
    missing = []
    for clip in annotations.clips():
        folder, _, name = clip.path.partition("/")
        if folder not in there:
            there[folder] = _names(Path(root, folder))
        if name not in there[folder]:
            missing.append(clip.path)
    return tuple(missing)


def _names(folder: Path) -> set[str]:
    try:
        return {entry.name for entry in os.scandir(folder)}
    except OSError:
        return set()
