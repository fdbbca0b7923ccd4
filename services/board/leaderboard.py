"""Ranks measured results; it reads the result table alone and mixes neither protocols nor revisions of a dataset."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Select, and_, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from services import revisions
from services.board.results import METRICS
from services.db.tables import ResultRow
from services.errors import InvalidRequest, NotFound

STREAMS = ("rgb", "flow", "two-stream")
CURSOR = r"(?:([0-9a-f]{16})-([0-9]{1,18})|end)(?:-([0-9]{1,18})|-end)"
"""Where a page begins: the value (the 64 bits of its float) and id of the last complete entry, and the id of the last
incomplete one; ``end`` where there are no more."""


@dataclass(frozen=True)
class Place:
    """The last complete entry and the last incomplete one of a page; ids are 0 before the first, None after the end."""

    value: float | None = None
    id: int | None = 0
    incomplete_id: int | None = 0


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
    excluded: int
    splits: dict[int, float]
    missing_splits: tuple[int, ...]


@dataclass(frozen=True)
class Board:
    """The ranking of one dataset's revision, split, stream, metric and protocol.

    Attributes:
        revision: of the dataset, on whose lists and clips the numbers were measured.
        superseded: whether the dataset has other lists or clips now.
        split: None for the mean over splits.
        protocol: how the numbers were measured; None where there are none.
        other_protocols: protocols of other entries of this revision, which this board does not rank, and how many
            there are of each.
        other_revisions: other revisions with entries, likewise.
        rows: complete entries of this page, best first.
        incomplete: entries of this page that lack a split, which have no mean.
        total: how many complete entries there are.
        total_incomplete: how many incomplete ones.
        next_cursor: where the next page begins; None on the last.
    """

    dataset: str
    revision: int
    superseded: bool
    split: int | None
    stream: str
    metric: str
    protocol: str | None
    other_protocols: dict[str, int] = field(default_factory=dict)
    other_revisions: dict[int, int] = field(default_factory=dict)
    rows: tuple[Standing, ...] = ()
    incomplete: tuple[Standing, ...] = ()
    total: int = 0
    total_incomplete: int = 0
    next_cursor: str | None = None


def rank(
    session: Session,
    *,
    dataset: str,
    revision: int | None = None,
    split: int | None = None,
    stream: str = "two-stream",
    metric: str = "top1",
    protocol: str | None = None,
    limit: int = 100,
    cursor: str | None = None,
) -> Board:
    """Return a page of the leaderboard.

    Args:
        session: a transaction of the caller.
        dataset: its name.
        revision: of the dataset; the present one if none is given.
        split: None for the mean over splits.
        stream: rgb, flow or two-stream.
        metric: top1, top5 or mean_class.
        protocol: that with the most entries if none is given.
        limit: of complete entries, and of incomplete ones.
        cursor: ``next_cursor`` of the page before.

    Raises:
        InvalidRequest: a stream, metric or cursor that does not exist.
        NotFound: a revision that the dataset does not have.
    """
    if stream not in STREAMS:
        raise InvalidRequest("stream", stream, ", ".join(STREAMS))
    if metric not in METRICS:
        raise InvalidRequest("metric", metric, ", ".join(METRICS))
    present, chosen = _revisions(session, dataset, revision)
    board = Board(dataset, chosen, chosen != present, split, stream, metric, protocol)
    board, totals = _counted(session, board)
    if board.protocol is None:
        return board
    total, total_incomplete = totals
    board = replace(board, total=total, total_incomplete=total_incomplete if split is None else 0)
    return _filled(session, board, limit, cursor)


def _revisions(session: Session, dataset: str, wanted: int | None) -> tuple[int, int]:
    """Return the number under which the dataset's present data is ranked, and that of what is asked for."""
    latest, present = revisions.numbers(session, dataset)
    if wanted is None:
        return present, present
    if not 1 <= wanted <= latest:
        raise NotFound(f"revision of dataset {dataset}", wanted, f"there are 1 to {latest}")
    return present, revisions.first_like(session, dataset, wanted)


def _counted(session: Session, board: Board) -> tuple[Board, tuple[int, int]]:
    """Choose the protocol, count what is ranked (complete, incomplete), and what is not."""
    count, value = func.count(), func.count(_value(board))
    query = (
        select(ResultRow.revision, ResultRow.protocol, count, value)
        .where(*_of_boards(board))
        .group_by(ResultRow.revision, ResultRow.protocol)
        .order_by(count.desc(), ResultRow.protocol)
    )
    protocols: dict[str, tuple[int, int]] = {}
    others: dict[int, int] = {}
    for revision, protocol, entries, complete in session.execute(query):
        if revision == board.revision:
            protocols[protocol] = complete, entries - complete
        else:
            others[revision] = others.get(revision, 0) + entries
    chosen = board.protocol if board.protocol is not None else next(iter(protocols), None)
    totals = protocols.get(chosen, (0, 0)) if chosen is not None else (0, 0)
    left_out = {name: sum(counts) for name, counts in protocols.items() if name != chosen}
    board = replace(board, protocol=chosen, other_protocols=left_out, other_revisions=dict(sorted(others.items())))
    return board, totals


def _filled(session: Session, board: Board, limit: int, cursor: str | None) -> Board:
    """Put a page of entries on a board."""
    begin = Place() if cursor is None else _open_cursor(cursor)
    query = select(ResultRow).where(*_of_boards(board), *_of_board(board))
    complete = [] if begin.id is None else _page(session, _complete(query, board, begin.value, begin.id), limit)
    incomplete: list[ResultRow] = []
    if board.total_incomplete and begin.incomplete_id is not None:
        left = query.where(_value(board).is_(None), ResultRow.id > begin.incomplete_id).order_by(ResultRow.id)
        incomplete = _page(session, left, limit)
    more, more_incomplete = len(complete) > limit, len(incomplete) > limit
    complete, incomplete = complete[:limit], incomplete[:limit]
    singles = _split_values(session, board, [row.experiment_id for row in (*complete, *incomplete)])
    places = _places(session, board, complete, first=cursor is None)
    next_cursor = None
    if more or more_incomplete:
        value, last = (getattr(complete[-1], board.metric), complete[-1].id) if more else (None, None)
        next_cursor = _make_cursor(Place(value, last, incomplete[-1].id if more_incomplete else None))
    return replace(
        board,
        rows=tuple(_standing(row, board, singles, place) for row, place in zip(complete, places, strict=True)),
        incomplete=tuple(_standing(row, board, singles, None) for row in incomplete),
        next_cursor=next_cursor,
    )


def _make_cursor(place: Place) -> str:
    complete = "end" if place.id is None else f"{struct.pack('>d', place.value).hex()}-{place.id}"
    return f"{complete}-{'end' if place.incomplete_id is None else place.incomplete_id}"


def _open_cursor(cursor: str) -> Place:
    found = re.fullmatch(CURSOR, cursor)
    if found is None:
        raise InvalidRequest("cursor", cursor, "the `next_cursor` of the page before")
    value, last, incomplete = found.groups()
    return Place(
        None if value is None else struct.unpack(">d", bytes.fromhex(value))[0],
        None if last is None else int(last),
        None if incomplete is None else int(incomplete),
    )


def _value(board: Board) -> InstrumentedAttribute[float | None]:
    found: InstrumentedAttribute[float | None] = getattr(ResultRow, board.metric)
    return found


def _of_boards(board: Board) -> tuple[Any, ...]:
    """What the boards of all revisions and protocols have in common."""
    return (
        ResultRow.dataset == board.dataset,
        ResultRow.stream == board.stream,
        ResultRow.board_split == (board.split or 0),
        ResultRow.seed.is_(None),
    )


def _of_board(board: Board) -> tuple[Any, ...]:
    return ResultRow.revision == board.revision, ResultRow.protocol == board.protocol


def _complete(query: Select[ResultRow], board: Board, value: float | None, last: int) -> Select[ResultRow]:
    """Return the query of complete entries that follow one of some value and id."""
    column = _value(board)
    if value is not None:
        query = query.where(column <= value, or_(column < value, ResultRow.id > last))
    return query.where(column.is_not(None)).order_by(column.desc().nulls_last(), ResultRow.id)


def _page(session: Session, query: Select[ResultRow], limit: int) -> list[ResultRow]:
    """Return the entries of a page and, where there are more, one of the next."""
    return list(session.scalars(query.limit(limit + 1)))


def _split_values(session: Session, board: Board, ids: Sequence[str]) -> dict[str, dict[int, float]]:
    query = select(ResultRow.experiment_id, ResultRow.split, _value(board)).where(
        ResultRow.experiment_id.in_(ids),
        ResultRow.stream == board.stream,
        ResultRow.seed.is_(None),
        ResultRow.split.is_not(None),
    )
    found: dict[str, dict[int, float]] = {}
    for experiment_id, split, value in session.execute(query.order_by(ResultRow.split)):
        if split is not None and value is not None:
            found.setdefault(experiment_id, {})[split] = value
    return found


def _places(session: Session, board: Board, rows: Sequence[ResultRow], *, first: bool) -> list[int]:
    """Return 1, 2, 2, 4, ...: equal values share a place, also with entries of the pages before."""
    values = [getattr(row, board.metric) for row in rows]
    better, before = (0, 0) if first or not rows else _before(session, board, rows[0])
    return [1 + (better if value == values[0] else before + values.index(value)) for value in values]


def _before(session: Session, board: Board, row: ResultRow) -> tuple[int, int]:
    """Return how many entries are better than one, and how many stand before it."""
    column, value = _value(board), getattr(row, board.metric)
    ahead = or_(column > value, and_(column == value, ResultRow.id < row.id))
    query = select(func.count().filter(column > value), func.count())
    better, before = session.execute(query.where(*_of_boards(board), *_of_board(board), column >= value, ahead)).one()
    return better, before


def _standing(row: ResultRow, board: Board, singles: dict[str, dict[int, float]], place: int | None) -> Standing:
    top1 = board.metric == "top1"
    return Standing(
        rank=place,
        experiment_id=row.experiment_id,
        name=row.name,
        model=row.model,
        value=getattr(row, board.metric),
        spread=row.spread if top1 else None,
        lower=row.lower if top1 else None,
        upper=row.upper if top1 else None,
        seeds=row.seeds,
        clips=row.clips,
        excluded=row.excluded,
        splits=singles.get(row.experiment_id, {}),
        missing_splits=tuple(row.missing_splits),
    )
