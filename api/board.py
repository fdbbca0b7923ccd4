"""Shapes of measured results: an experiment's own, and the leaderboard's answer."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel

from services.db.tables import ResultRow
from services.leaderboard import Board, Standing

Split = Literal["mean", "1", "2", "3"]
Stream = Literal["rgb", "flow", "two-stream"]
Metric = Literal["top1", "top5", "mean_class"]


class Result(BaseModel):
    """What one stream of an experiment reached; rates are between 0 and 1.

    Attributes:
        split: null for the mean over all splits of the dataset.
        seed: null for the mean over seeds, which the leaderboard ranks.
        std: standard deviation over seeds, of the mean over splits that over splits; null where there is only one.
        confidence_interval: 95 %, of top-1.
        categories: top-1 by coarse category, pooled over its clips; empty for datasets other than UCF101, null where
            they were not measured.
        missing_splits: those without which there is no mean.
        stage_key: of the stage whose output holds the accuracies of the classes too.
    """

    stream: Stream
    split: int | None
    seed: int | None
    protocol: str
    top1: float | None
    top5: float | None
    mean_class: float | None
    std: float | None
    confidence_interval: tuple[float, float] | None
    categories: dict[str, float] | None
    clips: int | None
    seeds: int
    missing_splits: list[int]
    stage_key: str | None

    @classmethod
    def of(cls, row: ResultRow) -> Self:
        """Shape a row of the result table."""
        return cls(
            **{name: getattr(row, name) for name in cls.model_fields.keys() - {"std", "confidence_interval"}},
            std=row.spread,
            confidence_interval=None if row.lower is None or row.upper is None else (row.lower, row.upper),
        )


class Entry(BaseModel):
    """One experiment's place; rates are between 0 and 1.

    Attributes:
        rank: equal values share one; null where splits are missing.
        std: standard deviation over seeds, where there are several.
        confidence_interval: 95 %, of top-1.
        splits: the values of the single splits.
        missing_splits: those without which there is no mean.
        seeds: over how many seeds the value is a mean.
        clips: how many test clips it counts.
    """

    rank: int | None
    experiment_id: str
    name: str
    model: str
    value: float | None
    std: float | None
    confidence_interval: tuple[float, float] | None
    splits: dict[str, float]
    missing_splits: list[int]
    seeds: int
    clips: int | None

    @classmethod
    def of(cls, standing: Standing) -> Self:
        """Shape a place of the ranking."""
        known = standing.lower is not None and standing.upper is not None
        return cls(
            rank=standing.rank,
            experiment_id=standing.experiment_id,
            name=standing.name,
            model=standing.model,
            value=standing.value,
            std=standing.spread,
            confidence_interval=(standing.lower, standing.upper) if known else None,
            splits={str(split): value for split, value in standing.splits.items()},
            missing_splits=list(standing.missing_splits),
            seeds=standing.seeds,
            clips=standing.clips,
        )


class Leaderboard(BaseModel):
    """The ranking of one dataset, split, stream, metric and protocol.

    Attributes:
        protocol: how every ranked number was measured; null where there is none.
        other_protocols: protocols that this board does not rank, and how many entries each has.
        rows: complete entries, best first.
        incomplete: entries without a mean, since splits are missing.
    """

    dataset: str
    split: Split
    stream: Stream
    metric: Metric
    protocol: str | None
    other_protocols: dict[str, int]
    rows: list[Entry]
    incomplete: list[Entry]

    @classmethod
    def of(cls, board: Board) -> Self:
        """Shape a ranking."""
        return cls(
            dataset=board.dataset,
            split="mean" if board.split is None else str(board.split),
            stream=board.stream,
            metric=board.metric,
            protocol=board.protocol,
            other_protocols=board.other_protocols,
            rows=[Entry.of(standing) for standing in board.rows],
            incomplete=[Entry.of(standing) for standing in board.incomplete],
        )
