"""HMDB51's list layout: ``<class>_test_split<N>.txt``, rows of a file name and a code.

Code 1 is training, 2 is testing, 0 is unused. Rows end in a blank; file names hold ``( ) ! # [ ] & + ; ~ @`` but no
blanks. Labels follow the alphabetical list of classes.
"""

from __future__ import annotations

import re
from pathlib import Path

from services.datasets.annotations import Annotations, Line, ListedClip, Split, read_lines, refuse_repeats
from services.errors import DataError

SPLITS = (1, 2, 3)
LIST_NAME = re.compile(r"(?P<name>[^.].*)_test_split(?P<split>[123])\.txt")
CODES = {"0": "unused", "1": "train", "2": "test"}


def read_hmdb51(folder: Path) -> Annotations:
    """Read the lists of a dataset in HMDB51's layout; hidden files and splits without lists are left out.

    Raises:
        DataError: a class lacks the list of a split that others have, a line is wrong, or a split names a clip twice.
            The message names file and line.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder of lists")
    found = [match for file in hmdb51_files(folder) if (match := LIST_NAME.fullmatch(file.name))]
    classes = tuple(sorted({match["name"] for match in found}))
    numbers = sorted({int(match["split"]) for match in found})
    if not classes:
        raise DataError(f"{folder}: no list named like 'cartwheel_test_split1.txt'")
    return Annotations(classes=classes, splits={number: _read_split(folder, number, classes) for number in numbers})


def hmdb51_files(folder: Path) -> list[Path]:
    """Return the files that `read_hmdb51` reads, by name.

    Raises:
        DataError: the folder cannot be read.
    """
    try:
        return sorted(file for file in folder.iterdir() if LIST_NAME.fullmatch(file.name))
    except OSError as error:
        raise DataError(f"{folder}: unreadable: {error}") from error


def _read_split(folder: Path, number: int, classes: tuple[str, ...]) -> Split:
    parts: dict[str, list[ListedClip]] = {part: [] for part in CODES.values()}
    for label, name in enumerate(classes):
        for line, text in read_lines(folder / f"{name}_test_split{number}.txt"):
            file, code = _read_row(line, text)
            parts[CODES[code]].append(ListedClip(path=f"{name}/{file}", label=label, line=line))
    refuse_repeats(tuple(clip for part in parts.values() for clip in part))
    for part in ("train", "test"):
        if not parts[part]:
            raise DataError(f"{folder}: split {number} has no clips to {part}")
    return Split(**{part: tuple(clips) for part, clips in parts.items()})


def _read_row(line: Line, text: str) -> tuple[str, str]:
    file, code = ("", *text.rsplit(maxsplit=1))[-2:]
    if not file or code not in CODES or "/" in file:
        raise DataError(f"{line}: got {line.quoted(text)}, allowed: '<clip> <code>' with code 0, 1 or 2")
    return file, code
