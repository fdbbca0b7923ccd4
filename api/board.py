"""Shapes of measured results: an experiment's own, and the leaderboard's answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict

from api.shapes import Finding
from services.board.leaderboard import Board, Standing
from services.board.means import Value as Number
from services.board.published import Published
from services.board.results import Result as Measured
from services.metrics import METRICS

Split = Literal["mean", "1", "2", "3"]
Format = Literal["json", "csv", "markdown", "latex"]
Stream = Literal["rgb", "flow", "two-stream"]
Source = Literal["experiment", "ensemble"]
Origin = Literal["trained", "ensemble", "uploaded"]
"""By which source entries are asked for."""
if TYPE_CHECKING:
    Metric = str
else:
    Metric = Literal[tuple(METRICS)]

Bounds = tuple[float, float]


class Value(BaseModel):
    """One metric of a result; a share is between 0 and 1.

    Attributes:
        std: standard deviation (n - 1) over seeds, each seed's being that of the split or of its mean over splits; null
            for one seed.
        confidence_interval: 95 %, over test clips; null for what is no share of clips, and where the clips that splits
            share are not known.
    """

    value: float
    std: float | None
    confidence_interval: Bounds | None

    @classmethod
    def of(cls, number: Number) -> Self:
        """Shape a number."""
        return cls(value=number.value, std=number.spread, confidence_interval=_bounds(number.lower, number.upper))


class Result(BaseModel):
    """What one stream of an experiment reached.

    Attributes:
        id: by which `GET /results/{id}` shows it in full.
        source: what it is the result of.
        uploaded: whether scores of it were computed elsewhere.
        split: null for the mean over all splits of the dataset.
        seed: null for the mean over seeds, which the leaderboard ranks.
        revision: of the dataset, on whose lists and clips it was measured.
        superseded: whether the dataset has other lists or clips now.
        protocol: how it was measured.
        box_protocol: how its boxes were measured, by which `video_map_...` and `box_recall_...` are ranked; null if it
            has none.
        selected_on_test: whether the epoch of some training was chosen on the test list.
        metrics: by name; one that only some of the parts of a mean have is left out.
        categories: top-1 by coarse category, pooled over its clips; empty for datasets other than UCF101, null where
            they were not measured.
        clips: how many distinct test clips it counts; a clip on which several splits test is one.
        excluded: how many listed clips, to train or to test, the dataset leaves out.
        missing_splits: those without which there is no mean.
        flags: what the linter finds doubtful.
        stage_key: of the stage that measured it; null for a mean.
    """

    id: int
    stream: Stream
    source: Source
    uploaded: bool
    split: int | None
    seed: int | None
    revision: int
    superseded: bool
    protocol: str
    box_protocol: str | None
    selected_on_test: bool
    metrics: dict[str, Value]
    categories: dict[str, float] | None
    clips: int | None
    excluded: int
    seeds: int
    missing_splits: list[int]
    flags: list[Finding]
    stage_key: str | None

    @classmethod
    def of(cls, found: Measured, present: int) -> Self:
        """Shape a result; ``present`` is the number of the dataset's present revision."""
        row, own = found.row, {"superseded", "protocol", "box_protocol", "selected_on_test", "metrics", "flags"}
        return cls(
            **{name: getattr(row, name) for name in cls.model_fields.keys() - own},
            superseded=row.revision != present,
            protocol=found.protocol,
            box_protocol=found.box_protocol,
            selected_on_test=found.selected_on_test,
            flags=found.flags,
            metrics={name: Value.of(found.values[name]) for name in METRICS if name in found.values},
        )


class Entry(BaseModel):
    """One experiment's place; a share is between 0 and 1.

    Attributes:
        source: what it is the result of.
        uploaded: whether scores of it were computed elsewhere.
        rank: equal values share one; null where splits are missing.
        rank_group: rank of the best entry from which the board's paired test does not tell this one; null where what
            was said of each clip was not kept.
        std: standard deviation (n - 1) over seeds, of each seed's mean over splits where that is ranked; null for one
            seed.
        confidence_interval: 95 %, over test clips; null for what is no share of clips, and where the clips that splits
            share are not known.
        splits: the values of the single splits.
        split_std: standard deviation (n - 1) of those values, behind a mean over splits: how unlike the splits are.
        missing_splits: those without which there is no mean.
        network: its kind, and the options that differ from the defaults of the kind, in words.
        options: these options.
        varied: its own value of each field of `vary`; null where its protocol does not say it.
        seeds: over how many seeds the value is a mean.
        clips: how many distinct test clips it counts.
        excluded: how many listed clips the dataset leaves out.
        selected_on_test: whether the epoch of some training was chosen on the test list.
        flags: what the linter finds doubtful.
    """

    rank: int | None
    rank_group: int | None
    experiment_id: str
    name: str
    model: str
    network: str
    options: dict[str, Any]
    source: Source
    uploaded: bool
    value: float | None
    std: float | None
    confidence_interval: Bounds | None
    splits: dict[str, float]
    split_std: float | None
    missing_splits: list[int]
    seeds: int
    clips: int | None
    excluded: int
    selected_on_test: bool
    varied: dict[str, Any]
    flags: list[Finding]

    @classmethod
    def of(cls, standing: Standing) -> Self:
        """Shape a place of the ranking."""
        return cls(
            rank=standing.rank,
            rank_group=standing.group,
            experiment_id=standing.experiment_id,
            name=standing.name,
            model=standing.model,
            network=standing.label,
            options=dict(standing.options),
            source=standing.source,
            uploaded=standing.uploaded,
            value=standing.value,
            std=standing.spread,
            confidence_interval=_bounds(standing.lower, standing.upper),
            splits={str(split): value for split, value in standing.splits.items()},
            split_std=standing.split_spread,
            missing_splits=list(standing.missing_splits),
            seeds=standing.seeds,
            clips=standing.clips,
            excluded=standing.excluded,
            selected_on_test=standing.selected_on_test,
            varied=dict(standing.varied),
            flags=standing.flags,
        )


class PublishedRow(BaseModel):
    """What a paper prints, of the same dataset, split, stream and metric; its protocol is the paper's own.

    Attributes:
        short: the paper, as it is cited.
        row: in the paper's words, like `column`.
        printed: in percent.
        corrected: what it should be; null where the print is right, and where nothing says what is.
        misprint: why it cannot be.
        origin: `own` for what the paper measured, `quoted` for what it took from `quoted_from`.
    """

    paper: str
    short: str
    table: str
    row: str
    column: str
    printed: float | None
    corrected: float | None
    misprint: str | None
    origin: Literal["own", "quoted"]
    quoted_from: str | None

    @classmethod
    def of(cls, found: Published) -> Self:
        """Shape a printed figure."""
        figure = found.figure
        return cls(
            paper=figure.paper,
            short=found.short,
            table=figure.table,
            row=figure.row,
            column=figure.column,
            printed=figure.printed,
            corrected=figure.corrected,
            misprint=None if figure.misprint is None else figure.misprint.reason,
            origin="own" if figure.own else "quoted",
            quoted_from=figure.quoted,
        )


class WithdrawnEntry(BaseModel):
    """What the board would rank, had it not been withdrawn: why, by whom and when.

    Attributes:
        value: a share between 0 and 1, or as the metric has it; null where splits are missing.
    """

    model_config = ConfigDict(from_attributes=True)

    experiment_id: str
    name: str
    value: float | None
    reason: str
    by: str
    at: datetime


class Leaderboard(BaseModel):
    """A page of the ranking of one dataset's revision, split, stream, metric and protocol.

    Attributes:
        revision: of the dataset, on whose lists and clips every ranked number was measured; one whose lists and clips
            equal those of an earlier one goes by that number.
        superseded: whether the dataset has other lists or clips now.
        protocol: how every ranked number was measured; null where there is none.
        vary: fields of protocols in which ranked numbers may differ from it.
        other_protocols: protocols that this board does not rank, and how many entries each has.
        other_revisions: revisions that this board does not rank, likewise.
        rows: complete entries, best first.
        incomplete: entries without a mean, since splits are missing.
        total: how many complete entries there are on all pages.
        total_incomplete: how many incomplete ones.
        significance: the test by which entries share a `rank_group`, on their common test clips, at 5 %; null where the
            metric is no share of clips.
        next_cursor: asks for the next page, as `cursor`; null on the last.
        withdrawn: what was withdrawn from this board, the latest first, on each page, 100 at the most.
        published: what the papers print, the highest first, on each page, never ranked; null unless it was asked for.
    """

    dataset: str
    revision: int
    superseded: bool
    split: Split
    stream: Stream
    metric: Metric
    protocol: str | None
    vary: list[str]
    other_protocols: dict[str, int]
    other_revisions: dict[str, int]
    rows: list[Entry]
    incomplete: list[Entry]
    total: int
    total_incomplete: int
    significance: str | None
    next_cursor: str | None
    withdrawn: list[WithdrawnEntry]
    published: list[PublishedRow] | None = None

    @classmethod
    def of(
        cls,
        board: Board,
        published: Sequence[Published] | None = None,
        entry: Callable[[Standing], Entry] = Entry.of,
    ) -> Self:
        """Shape a ranking; ``entry`` shapes a place of it."""
        return cls(
            dataset=board.dataset,
            revision=board.revision,
            superseded=board.superseded,
            split="mean" if board.split is None else str(board.split),
            stream=board.stream,
            metric=board.metric,
            protocol=board.protocol,
            vary=list(board.vary),
            other_protocols=board.other_protocols,
            other_revisions={str(number): count for number, count in board.other_revisions.items()},
            rows=[entry(standing) for standing in board.rows],
            incomplete=[Entry.of(standing) for standing in board.incomplete],
            total=board.total,
            total_incomplete=board.total_incomplete,
            significance=board.test,
            next_cursor=board.next_cursor,
            withdrawn=[WithdrawnEntry.model_validate(found) for found in board.withdrawn],
            published=None if published is None else [PublishedRow.of(found) for found in published],
        )


def _bounds(lower: float | None, upper: float | None) -> Bounds | None:
    return None if lower is None or upper is None else (lower, upper)
