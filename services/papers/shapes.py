"""The form of a file in `data/`: a paper, the systems that it measures, and its tables as they are printed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from services.errors import refused
from services.specs import Rule, SystemStream

Words = Annotated[str, Field(min_length=1)]
Metric = Literal["top1", "category", "class", "recall", "video_map"]
Split = Literal[1, 2, 3, "mean"]
Changes = Mapping[str, Any]


class Data(BaseModel):
    """What every part of a file shares: unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class MemberData(Data):
    """A member of an ensemble: a stream of another system of the paper, or score files that are computed elsewhere."""

    system: str | None = None
    stream: SystemStream | None = None
    scores: str | None = None
    """Name under which the files were brought, one for each split."""

    @model_validator(mode="after")
    def _is_one(self) -> MemberData:
        if (self.system is None) == (self.scores is None) or (self.system is None) != (self.stream is None):
            raise refused("system", self.system, "a system with its stream, or scores")
        return self


class SystemData(Data):
    """A system that the paper measures: a recipe with changes, or an ensemble of systems."""

    recipe: str | None = None
    """With `{dataset}` in place of the dataset's name."""
    changes: Changes = {}
    """Laid over the recipe, as in `POST /experiments`."""
    by_dataset: Mapping[str, Changes] = {}
    """Further changes on one dataset alone."""
    members: tuple[MemberData, ...] = ()
    method: Rule | None = None
    deviations: Mapping[str, Words] = {}
    """What the paper leaves open, or contradicts, and what is chosen here, by name."""

    @model_validator(mode="after")
    def _is_one(self) -> SystemData:
        if (self.recipe is None) != bool(self.members) or bool(self.members) != (self.method is not None):
            raise refused("recipe", self.recipe, "a recipe, or members with a method")
        return self


class ColumnData(Data):
    """What the values of a column are measured on."""

    dataset: str
    split: Split
    stream: SystemStream | None = None
    metric: Metric = "top1"
    of: str | None = None
    """The category or class."""


class MisprintData(Data):
    """Why a printed value cannot be, and what it should be where that follows."""

    reason: Words
    corrected: float | None = None


class ErratumData(Data):
    """A misprint that is not of a figure."""

    where: Words
    printed: Words
    corrected: Words | None = None
    reason: Words


class RunData(Data):
    """A further experiment behind a row."""

    system: str
    changes: Changes = {}
    curve: Words | None = None
    """What its curve is called, in a row that is drawn."""


class RowData(Data):
    """A row of a table, in the paper's words, with a value for each of some columns."""

    row: Annotated[str, Field(min_length=1, max_length=100)]
    values: Annotated[Mapping[str, float | None], Field(min_length=1)]
    """As printed; null where the table has a dash."""
    system: str | Mapping[str, str] | None = None
    """What makes it, of the table's systems or by column; null takes the table's. Of the paper's own rows alone."""
    changes: Changes = {}
    """Laid over the system."""
    beside: tuple[RunData, ...] = ()
    quoted: str | Mapping[str, str] | None = None
    """From where, for all columns or by column; what is not quoted is measured by the paper."""
    split: Split | None = None
    """In place of the columns'."""
    stream: SystemStream | None = None
    """In place of the columns'."""
    drawn: bool = False
    """Whether values are drawn as curves, without numbers: one for each experiment, each with its name."""
    curve: Words | None = None
    """What the curve of the row's own system is called."""
    misprints: Mapping[str, MisprintData] = {}
    """By column."""
    deviations: Mapping[str, Words] = {}
    note: Words | None = None

    @property
    def curves(self) -> tuple[str | None, ...]:
        """Names of the curves: the row's own, and those of the experiments beside it."""
        return self.curve, *(run.curve for run in self.beside)

    @model_validator(mode="after")
    def _curves_have_names(self) -> RowData:
        if any((name is None) == self.drawn for name in self.curves):
            raise refused("curve", list(self.curves), "a name for each curve of a row that is drawn, and of no other")
        return self


class TableData(Data):
    """A table, a figure, or what stands in the text."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,20}$")]
    title: Words
    system: str | None = None
    columns: Annotated[Mapping[str, ColumnData], Field(min_length=1)]
    rows: Annotated[tuple[RowData, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _rows_fit(self) -> TableData:
        names = [row.row for row in self.rows]
        if len(set(names)) < len(names):
            raise refused("rows", max(names, key=names.count), "each row once")
        for row in self.rows:
            used = {*row.values, *row.misprints}
            used |= {name for field in (row.quoted, row.system) if isinstance(field, Mapping) for name in field}
            if used - self.columns.keys():
                raise refused(row.row, sorted(used - self.columns.keys()), ", ".join(self.columns))
        return self


class PaperData(Data):
    """A paper."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9_]{1,40}$")]
    short: Words
    title: Words
    authors: Words
    venue: Words
    year: int
    arxiv: Words
    code: str | None
    """Repository of the released code."""
    deviations: Mapping[str, Words] = {}
    """Of all systems."""
    systems: Mapping[str, SystemData]
    misprints: tuple[ErratumData, ...] = ()
    tables: Annotated[tuple[TableData, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _systems_exist(self) -> PaperData:
        unknown = sorted({name for name in self._named() if name not in self.systems})
        if unknown:
            raise refused("systems", unknown, ", ".join(self.systems))
        return self

    def _named(self) -> Iterator[str]:
        yield from (part.system for system in self.systems.values() for part in system.members if part.system)
        for table in self.tables:
            yield from (table.system,) if table.system else ()
            for row in table.rows:
                yield from (row.system,) if isinstance(row.system, str) else (row.system or {}).values()
                yield from (run.system for run in row.beside)
