"""What a dataset's official lists say, whatever their layout: classes, and the clips of each split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from services.errors import DataError


@dataclass(frozen=True)
class Line:
    """A place in a list, for messages.

    Attributes:
        file: the list.
        number: of the line, from 1; 0 where the file as a whole is meant.
    """

    file: Path
    number: int

    def __str__(self) -> str:
        return f"{self.file}:{self.number}"

    def wrong(self, found: str, why: str) -> DataError:
        """Return the error of a line that says ``found``.

        A list that is a link is not quoted: it may lead to a file that is no list, and is not the reader's to see.
        """
        quoted = "(not quoted, since the list is a link)" if self.file.is_symlink() else found
        return DataError(f"{self}: {quoted}{why}")


@dataclass(frozen=True)
class ListedClip:
    """A clip as a list names it.

    Attributes:
        path: below the root, ``<Class>/<file>``.
        label: place of its class in the class list, from 0.
        line: where it stands.
    """

    path: str
    label: int
    line: Line


@dataclass(frozen=True)
class Split:
    """The clips of one split, in the order of its lists; HMDB51 names clips that are neither trained nor tested on."""

    train: tuple[ListedClip, ...]
    test: tuple[ListedClip, ...]
    unused: tuple[ListedClip, ...] = ()


@dataclass(frozen=True)
class Annotations:
    """Classes by label, and splits by number (1 to 3)."""

    classes: tuple[str, ...]
    splits: Mapping[int, Split]

    def clips(self) -> tuple[ListedClip, ...]:
        """Return every clip that some split uses once, where it is named first, sorted by path."""
        return self._first(unused=False)

    def named_clips(self) -> tuple[ListedClip, ...]:
        """Return every clip that a list names, used or not, likewise."""
        return self._first(unused=True)

    def _first(self, *, unused: bool) -> tuple[ListedClip, ...]:
        first: dict[str, ListedClip] = {}
        for split in self.splits.values():
            for clip in (*split.train, *split.test, *(split.unused if unused else ())):
                first.setdefault(clip.path, clip)
        return tuple(first[path] for path in sorted(first))


def read_lines(file: Path) -> Iterator[tuple[Line, str]]:
    """Yield the lines that are not blank, without line ends (LF or CRLF) and outer blanks, with their places.

    Raises:
        DataError: the file is missing, unreadable or not UTF-8.
    """
    try:
        if file.exists() and not file.is_file():  # reading a pipe would wait for whoever writes into it
            raise DataError(f"{file}: no regular file")
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{file}: no such list") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: unreadable: no UTF-8 at byte {error.start}") from None
    except OSError as error:
        raise DataError(f"{file}: unreadable: {error}") from error
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield Line(file, number), line.strip()


def refuse_repeats(clips: tuple[ListedClip, ...]) -> None:
    """Raise DataError for a clip that a split names twice, be it once for training and once for testing."""
    seen: dict[str, Line] = {}
    for clip in clips:
        if clip.path in seen:
            raise clip.line.wrong(clip.path, f" stands at {seen[clip.path]} already")
        seen[clip.path] = clip.line
