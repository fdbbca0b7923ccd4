"""Readers of memory-mapped files: each holds a file descriptor, of which a process has few."""

from __future__ import annotations

import resource
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

Reader = TypeVar("Reader")


def half_of_all_files() -> int:
    """Return half of the files that this process may have open at once, the other half being for all else."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2**16 if soft == resource.RLIM_INFINITY else max(1, soft // 2)


class OpenReaders(Generic[Reader]):
    """Keeps readers open; past the bound the one that was unused for longest is closed, and opened again when needed.

    A process that gets a copy (a loader worker that is spawned) begins with none.

    Args:
        most: readers open at once; half of what the process may have when None.
    """

    def __init__(self, most: int | None = None) -> None:
        self._most = most
        self._readers: OrderedDict[str, Reader] = OrderedDict()

    def __len__(self) -> int:
        return len(self._readers)

    def __reduce__(self) -> tuple[type[OpenReaders[Reader]], tuple[int | None]]:
        return OpenReaders, (self._most,)

    def get(self, name: str, open_: Callable[[], Reader]) -> Reader:
        """Return the reader of that name, opened by ``open_`` if it is not open."""
        if name not in self._readers:
            most = half_of_all_files() if self._most is None else self._most
            while len(self._readers) >= most:
                self._readers.popitem(last=False)
            self._readers[name] = open_()
        self._readers.move_to_end(name)
        return self._readers[name]
