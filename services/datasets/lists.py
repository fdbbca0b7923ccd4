"""The lists of a dataset as a process sees them that may not have its folders at all."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from services.datasets.annotations import Annotations
from services.datasets.layouts import Layout, digest_of_lists, read_annotations
from services.errors import DataError


@dataclass(frozen=True)
class Lists:
    """What the lists of a dataset say, without the clips that it leaves out, and their hash."""

    annotations: Annotations
    digest: str


def read_lists(layout: Layout, folder: str, excluded: Collection[str] = ()) -> Lists | None:
    """Return the lists in a folder, or None where this host has no such folder: the workers' hosts may have it.

    Raises:
        DataError: the lists are wrong, or no list names a clip that is to be left out.
    """
    if not Path(folder).is_dir():
        return None
    with _named_errors(folder):
        return Lists(read_annotations(layout, Path(folder), excluded), digest_of_lists(layout, Path(folder)))


def read_digest(layout: Layout, folder: str) -> str | None:
    """Return the hash of the lists in a folder alone, which takes milliseconds; None and errors as for `read_lists`."""
    if not Path(folder).is_dir():
        return None
    with _named_errors(folder):
        return digest_of_lists(layout, Path(folder))


@contextmanager
def _named_errors(folder: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(f"{folder}: unreadable: {error.strerror or error}") from error
