"""What a dataset's official lists say, whatever their layout: classes, and the clips of each split."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from services.datasets.regular_file import read_regular
from services.errors import DataError

MAX_LIST_BYTES = 64 << 20
"""Of one list; UCF101's longest has half a megabyte."""
MAX_QUOTED = 200
"""Characters of a wrong line that a message repeats."""


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
        quoted = "(not quoted, since the list is a link)" if self.file.is_symlink() else found[:MAX_QUOTED]
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

    @property
    def id(self) -> str:
        """Its path without the extension, such as ``YoYo/v_YoYo_g01_c01``."""
        return PurePosixPath(self.path).with_suffix("").as_posix()


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

    def without(self, excluded: Collection[str]) -> Annotations:
        """Return the annotations without the clips of some paths.

        Raises:
            DataError: no list names such a clip, or a part of a split has no other clips.
        """
        named = {clip.path for clip in self.named_clips()}
        for path in excluded:
            if path not in named:
                raise DataError(f"{path} is to be left out, but no list names it")
        gone = frozenset(excluded)
        splits = {number: _split_without(split, gone) for number, split in self.splits.items()}
        for number, split in splits.items():
            for part, clips in (("train", split.train), ("test", split.test)):
                if not clips:
                    raise DataError(f"split {number} has no clips to {part} but those that are left out")
        return replace(self, splits=splits)

    def shared_test_clips(self) -> tuple[dict[int, int], ...]:
        """Return, of each clip that two splits or more test on, its place in their test clips, by split.

        The places count the test clips of a split from 0 in the order of their ids, as score files have them. UCF101
        has no such clip, HMDB51 has 309.
        """
        places: dict[str, dict[int, int]] = {}
        for number, split in self.splits.items():
            for place, name in enumerate(sorted(clip.id for clip in split.test)):
                places.setdefault(name, {})[number] = place
        return tuple(places[name] for name in sorted(places) if len(places[name]) > 1)

    def _first(self, *, unused: bool) -> tuple[ListedClip, ...]:
        first: dict[str, ListedClip] = {}
        for split in self.splits.values():
            for clip in (*split.train, *split.test, *(split.unused if unused else ())):
                first.setdefault(clip.path, clip)
        return tuple(first[path] for path in sorted(first))


def _split_without(split: Split, gone: frozenset[str]) -> Split:
    parts = {
        part: tuple(clip for clip in getattr(split, part) if clip.path not in gone)
        for part in ("train", "test", "unused")
    }
    return Split(**parts)


def read_lines(file: Path) -> Iterator[tuple[Line, str]]:
    """Yield the lines that are not blank, without line ends (LF or CRLF) and outer blanks, with their places.

    Raises:
        DataError: the file is missing, unreadable, no regular file, longer than 64 MiB, or not UTF-8.
    """
    try:
        text = read_bytes(file).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: unreadable: no UTF-8 at byte {error.start}") from None
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield Line(file, number), line.strip()


def read_bytes(file: Path) -> bytes:
    """Return what a list holds.

    Raises:
        DataError: the file is missing, unreadable, no regular file, or longer than 64 MiB.
    """
    return read_regular(file, "list", MAX_LIST_BYTES)


def digest_of_ids(clips: Iterable[str]) -> str:
    """Return the SHA-256 of the ids of clips, whatever their order."""
    return hashlib.sha256("\n".join(sorted(clips)).encode()).hexdigest()


def refuse_equal_ids(clips: tuple[ListedClip, ...]) -> None:
    """Raise DataError for two clips that differ in their extension only."""
    first: dict[str, ListedClip] = {}
    for clip in clips:
        other = first.setdefault(clip.id, clip)
        if other.path != clip.path:
            raise DataError(f"{clip.line}: {other.path} and {clip.path} differ in their extension only")


def refuse_repeats(clips: tuple[ListedClip, ...]) -> None:
    """Raise DataError for a clip that a split names twice, be it once for training and once for testing."""
    seen: dict[str, Line] = {}
    for clip in clips:
        if clip.path in seen:
            raise clip.line.wrong(clip.path, f" stands at {seen[clip.path]} already")
        seen[clip.path] = clip.line
