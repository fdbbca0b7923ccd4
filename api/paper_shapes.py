"""Shapes of papers, and of their tables beside measured numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel

from api.board import Bounds, Stream
from api.shapes import ExperimentState, Finding
from services.board.paper_table import Behind, Line
from services.board.paper_table import Measured as Found
from services.papers import PaperData, PrintedFigure, bodies, figures_of
from services.recipes import RECIPES

Json = dict[str, Any]


class PaperTable(BaseModel):
    """A table of a paper: how many figures it prints, and how many of them the paper measured itself."""

    name: str
    title: str
    printed: int
    own: int
    quoted: int


class PaperSummary(BaseModel):
    """A paper, and its tables; ``code`` is the repository of the code that its authors released."""

    name: str
    short: str
    title: str
    authors: str
    venue: str
    year: int
    arxiv: str
    code: str | None
    printed: int
    own: int
    tables: list[PaperTable]

    @classmethod
    def of(cls, paper: PaperData, **more: Any) -> Self:
        """Shape a paper."""
        tables = [_table(paper, table.name, table.title) for table in paper.tables]
        fields = {name: getattr(paper, name) for name in ("name", "short", "title", "authors", "venue", "year")}
        return cls(
            **fields,
            arxiv=paper.arxiv,
            code=paper.code,
            printed=sum(table.printed for table in tables),
            own=sum(table.own for table in tables),
            tables=tables,
            **more,
        )


def _table(paper: PaperData, name: str, title: str) -> PaperTable:
    found = figures_of(paper.name, name)
    own, quoted = sum(figure.own for figure in found), sum(figure.quoted is not None for figure in found)
    return PaperTable(name=name, title=title, printed=len(found), own=own, quoted=quoted)


class Papers(BaseModel):
    """All papers."""

    items: list[PaperSummary]


class Misprint(BaseModel):
    """What a paper prints and cannot be; ``corrected`` is null where nothing says what it should be."""

    where: str
    printed: str
    corrected: str | None
    reason: str


class Paper(PaperSummary):
    """A paper with all its misprints, and what it leaves open or contradicts for all of its systems."""

    misprints: list[Misprint]
    deviations: dict[str, str]

    @classmethod
    def whole(cls, paper: PaperData) -> Self:
        """Shape a paper with its misprints."""
        found = [figure for table in paper.tables for figure in figures_of(paper.name, table.name)]
        misprints = [Misprint(**erratum.model_dump()) for erratum in paper.misprints]
        misprints += [_misprint(figure) for figure in found if figure.misprint is not None]
        return cls.of(paper, misprints=misprints, deviations=dict(paper.deviations))


def _misprint(figure: PrintedFigure) -> Misprint:
    assert figure.misprint is not None
    place = f"Table {figure.table}" if figure.table.isdigit() else figure.table
    corrected = None if figure.corrected is None else f"{figure.corrected:g}"
    where = f"{place}, {figure.row}, {figure.column}"
    return Misprint(where=where, printed=f"{figure.printed:g}", corrected=corrected, reason=figure.misprint.reason)


class PaperExperiment(BaseModel):
    """An experiment behind a row.

    Attributes:
        part: 0 has the row's value, others stand beside it; -1 is a member of an ensemble.
        reduced: whether it is less than the paper's.
    """

    id: str
    part: int
    state: ExperimentState
    dataset: str
    splits: list[int]
    seeds: list[int]
    reduced: bool

    @classmethod
    def of(cls, found: Behind) -> Self:
        """Shape an experiment."""
        own = {name: getattr(found, name) for name in cls.model_fields if name != "id"}
        return cls.model_validate({"id": found.experiment_id, **own})


class Measured(BaseModel):
    """What was measured of a figure; a share is between 0 and 1.

    Attributes:
        other_dataset: whether it was measured on another dataset than the paper's.
        std: standard deviation (n - 1) over seeds, of each seed's mean over splits where that is measured.
        confidence_interval: 95 %, over test clips.
        revision: of the dataset.
        curve: of a drawn figure, by intersection over union.
        pooled: experiments that differ in seeds alone, whose seeds are taken together; empty where it is one.
    """

    experiment_id: str
    dataset: str
    other_dataset: bool
    reduced: bool
    value: float | None
    std: float | None
    confidence_interval: Bounds | None
    seeds: int
    clips: int | None
    revision: int
    protocol: str
    selected_on_test: bool
    flags: list[Finding]
    curve: dict[str, float]
    pooled: list[str]

    @classmethod
    def of(cls, found: Found, dataset: str) -> Self:
        """Shape what was measured of a figure on a dataset."""
        value = found.value
        bounds = None if value is None or value.lower is None or value.upper is None else (value.lower, value.upper)
        names = ("seeds", "clips", "revision", "protocol", "selected_on_test", "curve")
        return cls(
            experiment_id=found.behind.experiment_id,
            dataset=found.behind.dataset,
            other_dataset=found.behind.dataset != dataset,
            reduced=found.behind.reduced,
            value=None if value is None else value.value,
            std=None if value is None else value.spread,
            confidence_interval=bounds,
            flags=found.behind.flags,
            pooled=list(found.pooled),
            **{name: getattr(found, name) for name in names},
        )


class Difference(BaseModel):
    """Measured less printed (corrected, where that is known) in points; the interval takes the print as exact."""

    points: float
    confidence_interval: Bounds | None


class PaperCurve(BaseModel):
    """A curve of a drawn figure, by its name there; `measured` is null where nothing was."""

    name: str
    measured: Measured | None


class PaperFigure(BaseModel):
    """A printed number beside the measured one.

    Attributes:
        split: `mean` is over the splits.
        stream: null where the paper does not say.
        metric: of all clips (`top1`), or of those of the `category` or `class` that `subject` names.
        printed: in percent; null for a dash and for a curve.
        corrected: what it should be; null where the print is right, and where nothing says what is.
        misprint: why it cannot be.
        origin: `own` for what the paper measured, `quoted` for what it took from `quoted_from`, `none` for a dash.
        submission: what `POST /experiments` takes to make it; of a figure with several experiments the first has its
            value. Members of an ensemble are launched first.
        deviations: what the paper leaves open or contradicts, and what is chosen here, by name.
        curves: of a drawn figure, the first of which is what was measured of it.
        experiments: behind the row, newest first.
        missing: what it lacks of being measured as the paper has it.
    """

    row: str
    column: str
    dataset: str
    split: Literal["mean", "1", "2", "3"]
    stream: Stream | None
    metric: str
    subject: str | None
    printed: float | None
    corrected: float | None
    misprint: str | None
    origin: Literal["own", "quoted", "none"]
    quoted_from: str | None
    note: str | None
    measured: Measured | None
    difference: Difference | None
    deviations: dict[str, str]
    submission: list[Json]
    curves: list[PaperCurve]
    experiments: list[PaperExperiment]
    missing: str | None

    @classmethod
    def of(cls, line: Line) -> Self:
        """Shape a line of a table."""
        figure, found = line.figure, line.difference
        difference = None
        if found is not None:
            bounds = None if found.lower is None or found.upper is None else (found.lower, found.upper)
            difference = Difference(points=found.value, confidence_interval=bounds)
        same = ("row", "column", "dataset", "stream", "metric", "printed", "corrected", "note")
        submission = bodies(figure) if figure.own else []
        return cls(
            **{name: getattr(figure, name) for name in same},
            subject=figure.of,
            split="mean" if figure.split is None else str(figure.split),
            misprint=None if figure.misprint is None else figure.misprint.reason,
            origin="own" if figure.own else "quoted" if figure.quoted is not None else "none",
            quoted_from=figure.quoted,
            measured=None if line.measured is None else Measured.of(line.measured, figure.dataset),
            difference=difference,
            deviations={**_of_recipes(submission), **figure.deviations},
            submission=submission,
            curves=[
                PaperCurve(name=each.name, measured=each.measured and Measured.of(each.measured, figure.dataset))
                for each in line.curves
            ],
            experiments=[PaperExperiment.of(behind) for behind in line.experiments],
            missing=line.missing,
        )


def _of_recipes(submission: list[Json]) -> Mapping[str, str]:
    """Return where the recipes of bodies differ from their papers, but for what the bodies change."""
    names = [body["recipe"] for body in submission if "recipe" in body]
    found = {name: words for recipe in names for name, words in RECIPES[recipe].deviations.items()}
    return {name: words for name, words in found.items() if name not in ("selection", "start")}


class FilledTable(BaseModel):
    """A paper's table: as printed, as corrected, and as measured here."""

    paper: str
    table: str
    title: str
    printed: int
    own: int
    measured: int
    rows: list[PaperFigure]
