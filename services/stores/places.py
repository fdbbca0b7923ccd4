"""Where artifacts lie in a store of either sort, what is known of each file, and how errors of a store are worded.

Outputs of a stage lie below ``stages/<key>/<attempt>``, so that a worker which has lost its lease can never overwrite
what another attempt published.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from errno import ENOSPC

from services.errors import Denied, Unavailable
from services.stores.files import is_unfinished

STAGES_FOLDER, TRASH_FOLDER = "stages", ".trash"
PUBLISHED = re.compile(r"(?P<attempt>\d+)/(?P<name>\w+)/(?P<file>.+)")


@dataclass(frozen=True)
class StoredFile:
    """A file or object of a store.

    Attributes:
        path: relative to the store's root.
        bytes: its length.
        modified_at: seconds since 1970.
        identity: equal for two names of the same content, that is, for hard links.
        links: number of its names, ours or not.
    """

    path: str
    bytes: int
    modified_at: float
    identity: tuple[object, ...]
    links: int = 1


def stage_folder(key: str) -> str:
    """Return the folder of a stage, relative to the store's root."""
    return f"{STAGES_FOLDER}/{key[:2]}/{key}"


def place_of(key: str, attempt: int, name: str) -> str:
    """Return the folder of what an attempt publishes under a name, relative to the store's root."""
    return f"{stage_folder(key)}/{attempt}/{name}"


def by_attempt(paths: Iterable[str], key: str, name: str) -> dict[int, list[str]]:
    """Return the files that each attempt at a stage has under a name, of all paths below the stage's folder."""
    found: dict[int, list[str]] = defaultdict(list)
    for path in sorted(paths):
        parts = PUBLISHED.fullmatch(path.removeprefix(f"{stage_folder(key)}/"))
        if parts and parts["name"] == name and not is_unfinished(parts["file"]):
            found[int(parts["attempt"])].append(parts["file"])
    return dict(found)


@contextmanager
def asking(address: str, errors: type[Exception], place: str = "") -> Iterator[None]:
    """Word what goes wrong while a store is asked.

    Args:
        address: the store, as messages name it.
        errors: what its library raises.
        place: what it is asked for, where the error does not say.

    Raises:
        Denied: it answers, and has not what is asked for, or does not give it, or there is no room for it.
        Unavailable: it does not answer.
    """
    try:
        yield
    except errors as error:
        denied = isinstance(error, FileNotFoundError | PermissionError) or getattr(error, "errno", None) == ENOSPC
        message = f"artifact store at {address}: {place}{': ' if place else ''}{error}"
        raise (Denied if denied else Unavailable)(message) from error
