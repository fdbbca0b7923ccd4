"""The layouts in which datasets come: how their lists are read, and where their clips lie."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from pathlib import Path
from types import MappingProxyType
from typing import Literal, get_args

from services.datasets.annotations import Annotations, read_bytes, refuse_equal_ids
from services.datasets.hmdb51 import hmdb51_files, read_hmdb51
from services.datasets.ucf101 import read_ucf101, ucf101_files
from services.errors import DataError

Layout = Literal["ucf101", "hmdb51"]
"""Clips lie at ``<Class>/<clip>`` in both; the lists differ."""
LAYOUTS: tuple[Layout, ...] = get_args(Layout)

_READERS: MappingProxyType[Layout, Callable[[Path], Annotations]] = MappingProxyType(
    {"ucf101": read_ucf101, "hmdb51": read_hmdb51}
)
_FILES: MappingProxyType[Layout, Callable[[Path], list[Path]]] = MappingProxyType(
    {"ucf101": ucf101_files, "hmdb51": hmdb51_files}
)


def read_annotations(layout: Layout, folder: Path, excluded: Collection[str] = ()) -> Annotations:
    """Read the lists of a dataset, and check all that they say by themselves.

    Args:
        layout: of the lists.
        folder: holds them.
        excluded: paths of listed clips to leave out.

    Raises:
        DataError: a list is missing, a line of it is wrong, a class has no clip, two clips differ in their extension
            only, or a clip is to be left out that no list names. The message names file and line where there is one.
    """
    annotations = _READERS[layout](folder)
    refuse_equal_ids(annotations.clips())
    used = {clip.label for clip in annotations.clips()}
    for label, name in enumerate(annotations.classes):
        if label not in used:
            raise DataError(f"{folder}: class {name!r} has no clip to train or test in any list")
    return annotations.without(excluded) if excluded else annotations


def digest_of_lists(layout: Layout, folder: Path) -> str:
    """Return the SHA-256 of all that `read_annotations` would read; how lines end does not count.

    Raises:
        DataError: a list is unreadable.
    """
    whole = hashlib.sha256()
    for file in _FILES[layout](folder):
        content = read_bytes(file).removeprefix(b"\xef\xbb\xbf").replace(b"\r", b"").rstrip(b"\n")
        whole.update(f"{file.name} {len(content)}\n".encode() + content)
    return whole.hexdigest()


def require_splits(annotations: Annotations, splits: Collection[int], folder: Path) -> None:
    """Raise DataError for a split that has no lists."""
    for number in sorted(splits):
        if number not in annotations.splits:
            known = ", ".join(map(str, annotations.splits))
            raise DataError(f"{folder}: no lists of split {number}, which the dataset has; there are those of {known}")
