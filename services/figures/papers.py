"""The papers' figures that are made of measured numbers, drawn from the experiments behind the rows of their tables.

A figure shows what was measured here, by the newest experiments that were launched for its rows; nothing of what a
paper prints is in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from sqlalchemy.orm import Session

from services.board.paper_table import Line, filled
from services.errors import Conflict, InvalidRequest, NotFound, nearest
from services.figures import embedding, memory, paper_curves, table
from services.figures.canvas import Drawing
from services.figures.choice import Choice, counted
from services.figures.classes import Bars, gains
from services.figures.outputs import Pending
from services.papers import PaperData, named_paper, named_table
from services.queue import experiments


class Row(NamedTuple):
    """A row of a paper's table that has an experiment behind it."""

    table: str
    row: str


@dataclass(frozen=True)
class PaperFigure:
    """A figure of a paper.

    Attributes:
        name: by which it is asked for.
        title: in words.
        rows: whose experiments it is drawn from; of a gain the system, then the baseline.
        curves: whether it has curves over the overlap of boxes, as a table of the same name.
        picture: figure of a single experiment, `services.figures.table`, that it is of the one behind its row; gains by
            class where it is neither.
        column_of: dataset of the column.
        split: of both.
        most: classes that gain most, and no others.
    """

    name: str
    title: str
    rows: tuple[Row, ...]
    curves: bool = False
    picture: str | None = None
    column_of: str = "ucf101"
    split: int | None = 1
    most: int | None = None


def _gain(session: Session, figure: PaperFigure, lines: Sequence[Line]) -> Bars:
    """Return what each class gains, the same split and stream of both systems."""
    choice = Choice(stream="two-stream", split=figure.split)
    rows = [experiments.get(session, line.measured.behind.experiment_id) for line in lines if line.measured]
    mine, theirs = (counted(session, row, choice, figure.name) for row in rows)
    if mine.classes != theirs.classes:
        datasets = " and ".join(row.dataset for row in rows)
        raise Conflict(f"figure {figure.name}: the newest experiments behind its rows are on {datasets}")
    words = f"{figure.title}, {mine.words}{_on(rows[0].dataset, figure)}"
    return gains(words, mine, theirs, figure.most)


def _on(dataset: str, figure: PaperFigure) -> str:
    return "" if dataset == figure.column_of else f" (on {dataset})"


def _tsne(name: str, of: str, row: Row) -> PaperFigure:
    title = f"Test clips as {of} tells them apart, by t-SNE (Figures 8 to 12)"
    return PaperFigure(name, title, (row,), picture=embedding.TSNE)


FIGURES: Mapping[str, tuple[PaperFigure, ...]] = MappingProxyType(
    {
        "ts_lstm": (
            PaperFigure(
                "class-gains",
                "Gain by class of TS-LSTM over two-stream ConvNets",
                (Row("5", "TS-LSTM"), Row("6", "ResNet-101")),
            ),
            _tsne("figure-8-two-stream", "the two-stream ConvNet", Row("6", "ResNet-101")),
            _tsne("figure-8-ts-lstm", "TS-LSTM", Row("5", "TS-LSTM")),
            _tsne("figure-8-temporal-inception", "Temporal-Inception", Row("5", "Temporal-Inception")),
        ),
        "matdl": (
            PaperFigure(
                "figure-3",
                "What the controller writes to the memory, on the frames of a clip",
                (Row("3", "Ours(ResNet+TSN)"),),
                picture=memory.NAME,
                column_of="hmdb51",
                split=None,
            ),
        ),
        "video_lstm": (
            PaperFigure(
                "figure-4a",
                "Recall of boxes over their overlap with the true ones",
                (Row("figure-4a", "VideoLSTM and ALSTM, with and without smoothing"),),
                curves=True,
            ),
            PaperFigure(
                "figure-4b",
                "Mean average precision of tubes over their overlap with the true ones",
                (Row("figure-4b", "VideoLSTM with smoothing"),),
                curves=True,
            ),
        ),
        "relational_lstm": (
            PaperFigure(
                "figure-3",
                "Classes with the largest gain of the two-branch network over TSN",
                (Row("3", "Two-branch"), Row("1", "TSN")),
                most=10,
            ),
        ),
    }
)
"""By paper. TS-LSTM prints no gains, but its text names classes. t-SNE and memory writes are pictures of the newest
experiment behind a row."""


def listing(paper: PaperData) -> tuple[PaperFigure, ...]:
    """Return the figures of a paper that can be drawn."""
    return FIGURES.get(paper.name, ())


def prepared(session: Session, paper_name: str, name: str, clip: str | None = None) -> Drawing | Pending:
    """Return a figure of a paper, ready to be drawn, or to be read from a store by `loaded`.

    Args:
        session: a transaction of the caller.
        paper_name: of the paper.
        name: of the figure.
        clip: that a figure of one clip shows, by its id; None for the first of which there are frames.

    Raises:
        InvalidRequest: the figure is of no clip.
        NotFound: there is no such paper, or no such figure of it; the nearest names are given.
        Conflict: something is not measured yet; the message says what, and by which launch it will be.
    """
    paper = named_paper(paper_name)
    there = {figure.name: figure for figure in listing(paper)}
    if name not in there:
        elsewhere = "none; those of single experiments are at GET /experiments/{id}/figures"
        raise NotFound(f"figure of paper {paper.name}", name, nearest(name, there) if there else elsewhere)
    figure = there[name]
    if clip is not None and (figure.picture is None or "clip" not in table.FIGURES[figure.picture].parameters):
        raise InvalidRequest("clip", clip, f"none: figure {name} is of no single clip")
    if figure.curves:
        return _curves(session, paper, figure)
    lines = [_line(session, paper, row, figure) for row in figure.rows]
    missing = [
        f"row {line.figure.row!r} of table {line.figure.table}: {line.missing or 'not measured yet'}; "
        f"hint: twostream papers launch {paper.name} {line.figure.table} --row {line.figure.row!r}"
        for line in lines
        if line.measured is None
    ]
    if missing:
        raise Conflict(f"figure {figure.name} of {paper.name} cannot be drawn yet: {'; '.join(missing)}")
    try:
        if figure.picture is not None:
            return _picture(session, figure.picture, lines[0], Choice(split=figure.split, clip=clip))
        return _gain(session, figure, lines)
    except (NotFound, InvalidRequest) as error:  # of the part that the figure shows
        raise Conflict(f"figure {figure.name} of {paper.name} cannot be drawn: {error}") from error


def _picture(session: Session, name: str, line: Line, choice: Choice) -> Drawing | Pending:
    """Return a picture of the experiment behind a row."""
    assert line.measured is not None
    return table.prepared(session, line.measured.behind.experiment_id, name, choice)


def _curves(session: Session, paper: PaperData, figure: PaperFigure) -> Drawing:
    try:
        return paper_curves.prepared(session, paper, named_table(paper, figure.name), None)
    except NotFound as error:
        hint = f"hint: twostream papers launch {paper.name} {figure.name}"
        raise Conflict(f"figure {figure.name} of {paper.name} cannot be drawn yet: {error}; {hint}") from error


def _line(session: Session, paper: PaperData, row: Row, figure: PaperFigure) -> Line:
    """Return the line of a row with the figure's dataset: of its column for both streams where it has several."""
    named_table(paper, row.table)
    mine = [line for line in filled(session, paper.name, row.table) if line.figure.row == row.row]
    on = [line for line in mine if line.figure.dataset == figure.column_of]
    assert on, f"{paper.name}, table {row.table}: no row {row.row!r} on {figure.column_of}"
    return next((line for line in on if line.figure.reported_as == "two-stream"), on[0])
