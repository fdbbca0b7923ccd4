"""Ranks measured results; it reads the result table alone and never mixes protocols."""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from services.db.tables import ResultRow
from services.errors import InvalidRequest
from services.results import METRICS

STREAMS = ("rgb", "flow", "two-stream")


@dataclass(frozen=True)
class Standing:
    """One experiment's place: its value, and the numbers of the single splits behind a mean."""

    rank: int | None
    experiment_id: str
    name: str
    model: str
    value: float | None
    spread: float | None
    lower: float | None
    upper: float | None
    seeds: int
    clips: int | None
    splits: dict[int, float]
    missing_splits: tuple[int, ...]


@dataclass(frozen=True)
class Board:
    """The ranking of one dataset, split, stream, metric and protocol.

    Attributes:
        split: None for the mean over splits.
        protocol: how the numbers were measured; None where there are none.
        other_protocols: protocols of other entries, which this board does not rank, and how many there are of each.
        rows: complete entries, best first.
        incomplete: entries that lack a split, which have no mean.
    """

    dataset: str
    split: int | None
    stream: str
    metric: str
    protocol: str | None
    other_protocols: dict[str, int] = field(default_factory=dict)
    rows: tuple[Standing, ...] = ()
    incomplete: tuple[Standing, ...] = ()


def rank(
    session: Session,
    *,
    dataset: str,
    split: int | None = None,
    stream: str = "two-stream",
    metric: str = "top1",
    protocol: str | None = None,
    limit: int = 100,
) -> Board:
    """Return the leaderboard; without a protocol, that of the protocol with the most entries.

    Raises:
        InvalidRequest: a stream or metric that does not exist.
    """
    if stream not in STREAMS:
        raise InvalidRequest("stream", stream, ", ".join(STREAMS))
    if metric not in METRICS:
        raise InvalidRequest("metric", metric, ", ".join(METRICS))
    protocols = _protocols(session, dataset, split, stream)
    chosen = protocol if protocol is not None else next(iter(protocols), None)
    others = {name: count for name, count in protocols.items() if name != chosen}
    board = Board(dataset, split, stream, metric, chosen, others)
    if chosen is None:
        return board
    value = getattr(ResultRow, metric)
    query = (
        select(ResultRow)
        .where(
            ResultRow.dataset == dataset,
            ResultRow.stream == stream,
            ResultRow.split.is_(None) if split is None else ResultRow.split == split,
            ResultRow.protocol == chosen,
            ResultRow.seed.is_(None),
        )
        .order_by(value.desc().nulls_last(), ResultRow.id)
    )
    complete = list(session.scalars(query.where(value.is_not(None)).limit(limit)))
    incomplete = list(session.scalars(query.where(value.is_(None)).limit(limit))) if split is None else []
    singles = _split_values(session, metric, stream, [row.experiment_id for row in (*complete, *incomplete)])
    rows = tuple(
        _standing(row, metric, singles, place) for place, row in zip(_places(complete, metric), complete, strict=True)
    )
    rest = tuple(_standing(row, metric, singles, None) for row in incomplete)
    return Board(dataset, split, stream, metric, chosen, others, rows, rest)


def _protocols(session: Session, dataset: str, split: int | None, stream: str) -> dict[str, int]:
    """Return protocols and their numbers of entries, the most used first."""
    query = (
        select(ResultRow.protocol, func.count())
        .where(
            ResultRow.dataset == dataset,
            ResultRow.stream == stream,
            ResultRow.split.is_(None) if split is None else ResultRow.split == split,
            ResultRow.seed.is_(None),
        )
        .group_by(ResultRow.protocol)
        .order_by(func.count().desc(), ResultRow.protocol)
    )
    return {name: count for name, count in session.execute(query)}  # noqa: C416 - rows are not pairs to mypy


def _split_values(session: Session, metric: str, stream: str, ids: list[str]) -> dict[str, dict[int, float]]:
    query = select(ResultRow.experiment_id, ResultRow.split, getattr(ResultRow, metric)).where(
        ResultRow.experiment_id.in_(ids),
        ResultRow.stream == stream,
        ResultRow.seed.is_(None),
        ResultRow.split.is_not(None),
    )
    found: dict[str, dict[int, float]] = {}
    for experiment_id, split, value in session.execute(query.order_by(ResultRow.split)):
        found.setdefault(experiment_id, {})[split] = value
    return found


def _places(rows: list[ResultRow], metric: str) -> list[int]:
    """Return 1, 2, 2, 4, ...: equal values share a place."""
    values = [getattr(row, metric) for row in rows]
    return [values.index(value) + 1 for value in values]


def _standing(row: ResultRow, metric: str, singles: dict[str, dict[int, float]], place: int | None) -> Standing:
    top1 = metric == "top1"
    return Standing(
        rank=place,
        experiment_id=row.experiment_id,
        name=row.name,
        model=row.model,
        value=getattr(row, metric),
        spread=row.spread if top1 else None,
        lower=row.lower if top1 else None,
        upper=row.upper if top1 else None,
        seeds=row.seeds,
        clips=row.clips,
        splits=singles.get(row.experiment_id, {}),
        missing_splits=tuple(row.missing_splits),
    )
