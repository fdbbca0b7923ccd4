"""UCF101's list layout: ``classInd.txt``, ``trainlist0N.txt`` and ``testlist0N.txt``.

Measured on the official copies: lines end CRLF; test lists have no label column; the folder of class
``HandstandPushups`` holds ``v_HandStandPushups_*``; classInd is in case-insensitive order, so that ``sorted()`` would
swap Hammering with HammerThrow and JumpingJack with JumpRope. Hence two rules: a clip's class is its folder, and a
class's label its classInd row.
"""

from __future__ import annotations

import re
from pathlib import Path

from services.datasets.annotations import Annotations, Line, ListedClip, Split, read_lines, refuse_repeats
from services.errors import DataError

CLASS_LIST = "classInd.txt"
SPLITS = (1, 2, 3)
GROUP = re.compile(r"_g(\d+)_c\d+(\.\w+)?$")


def read_ucf101(folder: Path) -> Annotations:
    """Read the lists of a dataset in UCF101's layout; splits without lists are left out.

    Args:
        folder: holds ``classInd.txt`` and the two lists of at least one split.

    Raises:
        DataError: a list is missing or empty, a line is wrong, a class unknown, a label column disagrees with the
            folder, or a split names a clip twice. The message names file and line.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder of lists")
    labels = _read_classes(folder / CLASS_LIST)
    splits = {number: _read_split(folder, number, labels) for number in SPLITS if _has_split(folder, number)}
    if not splits:
        raise DataError(f"{folder}: no list of any split; hint: {_list(folder, 'train', 1).name} is the first")
    return Annotations(classes=tuple(labels), splits=splits)


def ucf101_files(folder: Path) -> list[Path]:
    """Return the files that `read_ucf101` reads, as far as they are there, in a fixed order."""
    lists = [_list(folder, part, number) for number in SPLITS for part in ("train", "test")]
    return [file for file in (folder / CLASS_LIST, *lists) if file.exists()]


def group_of(path: str) -> int | None:
    """Return the group of a clip by its name, ``v_YoYo_g11_c04.avi`` being of group 11; clips of one share a scene."""
    found = GROUP.search(path)
    return int(found[1]) if found else None


def _list(folder: Path, part: str, number: int) -> Path:
    return folder / f"{part}list{number:02d}.txt"


def _has_split(folder: Path, number: int) -> bool:
    return any(_list(folder, part, number).exists() for part in ("train", "test"))


def _read_split(folder: Path, number: int, labels: dict[str, int]) -> Split:
    train = _read_list(_list(folder, "train", number), labels)
    test = _read_list(_list(folder, "test", number), labels)
    refuse_repeats((*train, *test))
    return Split(train=train, test=test)


def _read_classes(file: Path) -> dict[str, int]:
    """Return labels from 0 by class name, in the order of the file's numbers, which must be 1 to K."""
    names: dict[int, str] = {}
    for line, text in read_lines(file):
        number, name = (*text.split(maxsplit=1), "")[:2]
        if not number.isdecimal() or not name or "/" in name:
            raise DataError(f"{line}: got {line.quoted(text)}, allowed: '<number> <class>'")
        if int(number) in names or name in names.values():
            raise DataError(f"{line}: {line.quoted(text)} repeats a number or class above")
        names[int(number)] = name
    if sorted(names) != list(range(1, len(names) + 1)):
        raise DataError(f"{file}: got the numbers {sorted(names)}, allowed: 1 to {len(names)}, each once")
    if not names:
        raise DataError(f"{file}: no classes")
    return {names[number]: number - 1 for number in sorted(names)}


def _read_list(file: Path, labels: dict[str, int]) -> tuple[ListedClip, ...]:
    clips = tuple(_read_clip(line, text, labels) for line, text in read_lines(file))
    if not clips:
        raise DataError(f"{file}: no clips")
    return clips


def _read_clip(line: Line, text: str, labels: dict[str, int]) -> ListedClip:
    path, column = ("", *text.rsplit(maxsplit=1))[-2:]
    if not (path and column.isdecimal()):  # a test list, or a file name with a blank
        path, column = text, ""
    name, _, file = path.partition("/")
    if not name or not file or "/" in file or "\\" in file:
        raise DataError(f"{line}: got {line.quoted(text)}, allowed: '<class>/<clip>' and a label")
    if name not in labels:
        raise DataError(
            f"{line}: {line.quoted(path)} is of class {line.quoted(name)}, which {CLASS_LIST} does not have"
        )
    if column and int(column) != labels[name] + 1:
        raise DataError(f"{line}: {path} has label {column}, but class {name!r} is number {labels[name] + 1}")
    return ListedClip(path=path, label=labels[name], line=line)
