"""Printed figures: every number of a paper's tables, with where it stands, whose it is, and what makes it here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from services.papers.shapes import Changes, MisprintData, PaperData, RowData, TableData
from services.specs import SystemStream


@dataclass(frozen=True)
class Source:
    """A system of a paper, with what a row changes of it, and what its curve is called, if it is drawn as one."""

    system: str
    changes: Changes
    curve: str | None = None


@dataclass(frozen=True)
class PrintedFigure:
    """A number that a paper prints.

    Attributes:
        paper: by its name, like `table`; `row` and `column` are in the paper's words.
        dataset: on which the paper has it.
        split: None for the mean over splits.
        stream: as the paper has it; None where it does not say.
        reported_as: stream under which our result goes.
        metric: such as ``top1``, of all, or of the category or class ``of``.
        printed: in the paper's unit, percent; None for a dash, and for a curve, which is ``drawn``.
        misprint: why it cannot be.
        quoted: from where; None for what the paper measured.
        sources: what makes it, the first one its value; none for what is quoted.
        deviations: what the paper leaves open or contradicts, and what is chosen here, by name.
    """

    paper: str
    table: str
    row: str
    column: str
    dataset: str
    split: int | None
    stream: SystemStream | None
    reported_as: SystemStream
    metric: str
    of: str | None
    printed: float | None
    drawn: bool
    misprint: MisprintData | None
    quoted: str | None
    note: str | None
    sources: tuple[Source, ...]
    deviations: Mapping[str, str] = field(hash=False)

    @property
    def place(self) -> tuple[str, str, str, str]:
        """Where it stands, which no other does."""
        return self.paper, self.table, self.row, self.column

    @property
    def own(self) -> bool:
        """Whether the paper measured it."""
        return self.quoted is None and (self.printed is not None or self.drawn)

    @property
    def corrected(self) -> float | None:
        """What it should be; None where the print is right, and where nothing says what is."""
        return None if self.misprint is None else self.misprint.corrected

    @property
    def said(self) -> float | None:
        """What a measured number is compared with: the corrected value, or the printed one."""
        return self.printed if self.corrected is None else self.corrected


def figures(paper: PaperData, table: TableData) -> Iterator[PrintedFigure]:
    """Yield the figures of a table, row by row."""
    for row in table.rows:
        for column in row.values:
            yield _figure(paper, table, row, column)


def _figure(paper: PaperData, table: TableData, row: RowData, column: str) -> PrintedFigure:
    place = table.columns[column]
    split, stream = row.split or place.split, row.stream or place.stream
    quoted = row.quoted.get(column) if isinstance(row.quoted, Mapping) else row.quoted
    sources = () if quoted is not None else _sources(table, row, column)
    systems = [paper.systems[source.system] for source in sources]
    deviations = {name: words for system in systems for name, words in system.deviations.items()}
    return PrintedFigure(
        paper=paper.name,
        table=table.name,
        row=row.row,
        column=column,
        dataset=place.dataset,
        split=None if split == "mean" else split,
        stream=stream,
        reported_as=stream or "two-stream",
        metric=place.metric,
        of=place.of,
        printed=row.values[column],
        drawn=row.drawn,
        misprint=row.misprints.get(column),
        quoted=quoted,
        note=row.note,
        sources=sources,
        deviations={**paper.deviations, **deviations, **row.deviations} if sources else {},
    )


def _sources(table: TableData, row: RowData, column: str) -> tuple[Source, ...]:
    system = row.system.get(column) if isinstance(row.system, Mapping) else row.system or table.system
    assert system is not None, f"table {table.name}, row {row.row}, {column}: no system, and not quoted"
    return (
        Source(system, row.changes, row.curve),
        *(Source(run.system, run.changes, run.curve) for run in row.beside),
    )
