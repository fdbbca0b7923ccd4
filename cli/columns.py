"""Columns of text on a terminal, measured in its cells: a letter takes one, or two where the script is wide."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from itertools import zip_longest

GAP, LEAST = 2, 8
"""Cells between two columns, and of the narrowest that a column is folded to."""
ID = re.compile(r"\b[a-z]{2,4}_[0-9a-f]{6,}|\b[0-9a-f]{12,}\b")
"""Of an experiment or sweep, or of a stage or score file: copied by people, so that it stays in one piece."""


def width() -> int | None:
    """Return the cells of a line of the terminal; None where standard output is a file or a pipe."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def cells(text: str) -> int:
    """Return how many cells a text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def padded(text: str, size: int, *, right: bool) -> str:
    """Fill a text up with blanks; at its left if it stands at the right."""
    blanks = " " * (size - cells(text))
    return blanks + text if right else text + blanks


def cut(text: str, size: int) -> str:
    """Shorten a text to so many cells, with a sign that it goes on."""
    if cells(text) <= size:
        return text
    from rich.cells import set_cell_size

    return set_cell_size(text, size - 1) + "…"


def fitted(rows: Sequence[Sequence[str]]) -> list[int]:
    """Return the width of each column, so that the terminal has room for all where that can be.

    Texts are folded between words first; where that is not enough, words of the column with the longest are cut.

    Args:
        rows: texts of each row, the same number in each.
    """
    columns = list(zip(*rows, strict=True))
    widths = [max(map(cells, column)) for column in columns]
    words = [[word for text in column for word in text.split()] for column in columns]
    least = [max(LEAST, *(cells(word) for word in column if ID.search(word)), 0) for column in words]
    whole = [max(size, *map(cells, column), 0) for size, column in zip(least, words, strict=True)]
    room = width()
    while room is not None and sum(widths) + GAP * (len(widths) - 1) > room:
        between = [(size, place) for place, size in enumerate(widths) if size > whole[place]]
        within = [(whole[place], place) for place, size in enumerate(widths) if size > least[place]]
        if not within:
            break
        widths[max(between or within)[1]] -= 1
    return widths


def folded(row: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> Iterator[list[str]]:
    """Yield the lines of a row: its texts cut into pieces of their columns' widths, with blanks around them."""
    pieces = [_pieces(text, size) for text, size in zip(row, widths, strict=True)]
    last = len(row) - 1
    for line in zip_longest(*pieces, fillvalue=""):
        yield [
            padded(text, size, right=at_right) + ("" if place == last else " " * GAP)
            for place, (text, size, at_right) in enumerate(zip(line, widths, right, strict=True))
        ]


def _pieces(text: str, size: int) -> list[str]:
    """Cut a text between words; a word that is longer than a line, wherever the line ends."""
    if cells(text) <= size:
        return [text]
    lines, line = [], ""
    for word in text.split(" "):
        if line and cells(line) + 1 + cells(word) <= size:
            line += f" {word}"
            continue
        *full, rest = _chopped(word, size)
        lines += [line, *full] if line else full
        line = rest
    return [*lines, line]


def _chopped(word: str, size: int) -> list[str]:
    if cells(word) <= size:
        return [word]
    if word.isascii():
        return [word[start : start + size] for start in range(0, len(word), size)]
    from rich.cells import chop_cells

    return chop_cells(word, size)
