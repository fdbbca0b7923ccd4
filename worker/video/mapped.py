"""Readers of memory-mapped files: each takes a file descriptor and a mapping, of which a process has few.

A reader that is kept must hold nothing on the heap from which arrays come: what is freed around it could not be given
back, and a process would grow by the size of an array for every reader. Hence `MappedArray` keeps small objects only.
"""

from __future__ import annotations

import mmap
import resource
import tokenize
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

Reader = TypeVar("Reader")
Use = Literal["once", "again"]
"""How often a clip is read: one time, or again and again."""
FEW = 4
"""Readers that are kept where each clip is read once, in one or several blocks."""
MAP_LIMIT = Path("/proc/sys/vm/max_map_count")
USUAL_MAPS = 65_530  # of Linux, where the file cannot be read


def most_readers(use: Use = "again") -> int:
    """Return how many readers this process may keep open: few of clips read once, else `half_of` its limits."""
    return FEW if use == "once" else half_of(resource.getrlimit(resource.RLIMIT_NOFILE)[0], map_limit())


def half_of(files: int, maps: int) -> int:
    """Return half of the files that a process may have open (`RLIM_INFINITY`: any number), or of its mappings.

    The kernel's mappings are for all files, however many may be open; the other half is for all else.
    """
    return max(1, (maps if files == resource.RLIM_INFINITY else min(files, maps)) // 2)


def map_limit(file: Path = MAP_LIMIT) -> int:
    """Return how many mappings the kernel allows a process; what is usual where it does not say."""
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return USUAL_MAPS


class OpenReaders(Generic[Reader]):
    """Keeps readers open; past the bound the one that was unused for longest is closed, and opened again when needed.

    A process that gets a copy (a loader worker that is spawned) begins with none.

    Args:
        most: readers open at once; None asks `most_readers` each time one is opened.
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
            most = most_readers() if self._most is None else self._most
            while len(self._readers) >= most:
                self._readers.popitem(last=False)
            self._readers[name] = open_()
        self._readers.move_to_end(name)
        return self._readers[name]


class MappedArray:
    """A numpy array on disk, mapped into memory.

    Attributes:
        shape: of the array.
        dtype: of its elements.

    Raises:
        OSError: the file cannot be opened.
        ValueError: it holds no array, or not all of it.
    """

    def __init__(self, path: Path) -> None:
        try:
            stored = np.load(path, mmap_mode="r")
        except (EOFError, SyntaxError, tokenize.TokenError) as error:
            raise ValueError(str(error)) from error
        if not isinstance(stored, np.memmap):
            raise ValueError("holds several arrays")  # noqa: TRY004 - of the file, not of an argument
        self.shape: tuple[int, ...] = tuple(stored.shape)
        self.dtype: np.dtype[Any] = stored.dtype
        self._offset: int = stored.offset
        with path.open("rb") as file:
            self._content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    @property
    def view(self) -> NDArray[Any]:
        """The array, read-only; nothing is read before its elements are."""
        return np.ndarray(self.shape, self.dtype, self._content, self._offset)
