"""CSV that a spreadsheet opens without running what somebody typed."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""With these a spreadsheet begins a formula."""


def as_csv(lines: Iterable[Iterable[object]]) -> str:
    """Return lines of cells: numbers as they are, nothing for None, texts so that no spreadsheet runs them."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerows([_cell(cell) for cell in line] for line in lines)
    return out.getvalue()


def _cell(value: object) -> object:
    if value is None:
        return ""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
