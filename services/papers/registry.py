"""The papers by name, read once from `data/`, and what has a name in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import resources
from types import MappingProxyType

import yaml

from services.errors import InvalidRequest, NotFound, nearest
from services.papers.printed import PrintedFigure, figures
from services.papers.shapes import PaperData, TableData

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The fast one, where PyYAML was built with it."""
FILES = ("matdl", "ts_lstm", "video_lstm", "relational_lstm")


def read(name: str) -> PaperData:
    """Return the paper of a file in `data/`.

    Raises:
        pydantic.ValidationError: the file does not have the form of `shapes.py`.
    """
    text = (resources.files("services.papers") / "data" / f"{name}.yaml").read_text(encoding="utf-8")
    return PaperData.model_validate(yaml.load(text, LOADER))  # noqa: S506 - it is a safe one


PAPERS: Mapping[str, PaperData] = MappingProxyType({name: read(name) for name in FILES})


def named_paper(name: str) -> PaperData:
    """Return a paper, or raise ``NotFound`` with the nearest names."""
    if name not in PAPERS:
        raise NotFound("paper", name, nearest(name, PAPERS))
    return PAPERS[name]


def named_table(paper: PaperData, name: str) -> TableData:
    """Return a table of a paper, or raise ``NotFound`` with the nearest names."""
    tables = {table.name: table for table in paper.tables}
    if name not in tables:
        raise NotFound(f"table of paper {paper.name}", name, nearest(name, tables))
    return tables[name]


@cache
def figures_of(paper: str, table: str) -> tuple[PrintedFigure, ...]:
    """Return the figures of a table, row by row."""
    data = PAPERS[paper]
    return tuple(figures(data, named_table(data, table)))


def own_figures(
    paper: PaperData, tables: Iterable[str], rows: Sequence[str] | None = None
) -> tuple[PrintedFigure, ...]:
    """Return the figures that a paper measured itself, of some tables, and of some rows of them.

    Raises:
        InvalidRequest: no row has such a name, or all of its figures are quoted.
    """
    found = [figure for table in tables for figure in figures_of(paper.name, table)]
    own = [figure for figure in found if figure.own]
    if rows is None:
        return tuple(own)
    known = list(dict.fromkeys(figure.row for figure in own))
    for number, row in enumerate(rows):
        if row not in known:
            quoted = any(figure.row == row for figure in found)
            allowed = "a row that the paper measures; this one is quoted" if quoted else nearest(row, known)
            raise InvalidRequest(f"rows.{number}", row, allowed)
    return tuple(figure for figure in own if figure.row in set(rows))
