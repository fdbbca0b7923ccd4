"""What stores of either sort share: what is known of each file, whose it is, and how errors of a store are worded."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from errno import ENOSPC

from services.errors import Denied, Unavailable
from services.stores.names import Place, is_unfinished


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


def by_attempt(paths: Iterable[str], key: str, name: str) -> dict[int, list[str]]:
    """Return the files that each attempt at a stage has under a name, of paths relative to the store's root."""
    found: dict[int, list[str]] = defaultdict(list)
    for path in sorted(paths):
        place = Place.of(path)
        if place is not None and (place.key, place.name) == (key, name) and not is_unfinished(path):
            found[place.attempt].append(path.removeprefix(f"{place.path}/"))
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
