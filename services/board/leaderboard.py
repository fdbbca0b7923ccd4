"""Ranks measured results; it reads their rows alone and mixes neither protocols nor revisions of a dataset."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import ColumnElement, and_, func, literal, or_, select, union_all
from sqlalchemy.orm import Session, aliased

from services import revisions
from services.board.choice import Count, SelectedOnTest, choose
from services.board.cursor import Cursor
from services.db.measured import INCOMPLETE
from services.db.tables import ExperimentRow, ProtocolRow, ResultRow, ResultValueRow
from services.errors import InvalidRequest, NotFound
from services.metrics import METRICS, PRIMARY

STREAMS = ("rgb", "flow", "two-stream")
ENTRY = (
    ResultRow.id,
    ResultRow.experiment_id,
    ResultRow.name,
    ResultRow.model,
    ResultRow.source,
    ResultRow.uploaded,
    ResultRow.seeds,
    ResultRow.clips,
    ResultRow.excluded,
    ResultRow.missing_splits,
    ResultRow.protocol,
)
FLAGS = (
    select(ExperimentRow.flags)
    .where(ExperimentRow.id == ResultRow.experiment_id)
    .correlate(ResultRow)
    .scalar_subquery()
    .label("flags")
)
"""What is doubtful of an entry: asked for each entry of a page, and for no other."""
VALUE = (ResultValueRow.value, ResultValueRow.spread, ResultValueRow.lower, ResultValueRow.upper)


@dataclass(frozen=True)
class Standing:
    """One experiment's place: its value, and the numbers of the single splits behind a mean.

    ``selected_on_test`` says that the epoch of some training was chosen on the test list.
    """

    rank: int | None
    experiment_id: str
    name: str
    model: str
    source: str
    uploaded: bool
    value: float | None
    spread: float | None
    lower: float | None
    upper: float | None
    seeds: int
    clips: int | None
    excluded: int
    splits: dict[int, float]
    missing_splits: tuple[int, ...]
    selected_on_test: bool = False
    flags: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class Board:
    """The ranking of one dataset's revision, split, stream, metric and protocol.

    Attributes:
        revision: of the dataset, on whose lists and clips the numbers were measured.
        superseded: whether the dataset has other lists or clips now.
        split: None for the mean over splits.
        protocol: how the numbers were measured, as its line; None where there are none.
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
    metric: str = PRIMARY,
    protocol: str | None = None,
    selected_on_test: SelectedOnTest = "exclude",
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
        metric: one of ``METRICS``, which says which end comes first.
        protocol: its line; that with the most entries if none is given.
        selected_on_test: `exclude` ranks no entry whose epoch was chosen on the test list, unless their protocol is
            named, which ranks them by themselves; `flag` ranks them among the others, and each says so.
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
    begin = Cursor.read(cursor)
    present, number = _revisions(session, dataset, revision)
    board = Board(dataset, number, number != present, split, stream, metric, protocol)
    counts = _counts(session, board)
    here = [count for count in counts if count.revision == number]
    chosen = choose(here, protocol, selected_on_test)
    others: dict[int, int] = {}
    for count in sorted(counts):
        if count.revision != number:
            others[count.revision] = others.get(count.revision, 0) + count.entries
    ranked = () if chosen is None else chosen.protocols
    left_out = {count.line: count.entries for count in here if count.protocol not in ranked}
    board = replace(board, other_protocols=left_out, other_revisions=others)
    return board if chosen is None else _filled(session, board, chosen, begin, limit)


def _revisions(session: Session, dataset: str, wanted: int | None) -> tuple[int, int]:
    """Return the number under which the dataset's present data is ranked, and that of what is asked for."""
    latest, present = revisions.numbers(session, dataset)
    if wanted is None:
        return present, present
    if not 1 <= wanted <= latest:
        raise NotFound(f"revision of dataset {dataset}", wanted, f"there are 1 to {latest}")
    return present, revisions.first_like(session, dataset, wanted)


def _counts(session: Session, board: Board) -> list[Count]:
    """Return what there is of each revision and protocol, most entries first."""
    value, result = ResultValueRow, ResultRow
    complete, incomplete = func.count().label("complete"), literal(0).label("incomplete")
    parts = [select(value.revision, value.protocol, complete, incomplete).where(*_values(board))]
    parts[0] = parts[0].group_by(value.revision, value.protocol)
    if board.split is None:
        lacking = select(result.revision, result.protocol, literal(0), func.count()).where(*_lacking(board))
        parts.append(lacking.group_by(result.revision, result.protocol))
    found = union_all(*parts).subquery()
    sums = func.sum(found.c.complete), func.sum(found.c.incomplete)
    query = (
        select(found.c.revision, ProtocolRow.digest, ProtocolRow.line, ProtocolRow.fields, *sums)
        .join(ProtocolRow, ProtocolRow.digest == found.c.protocol)
        .group_by(found.c.revision, ProtocolRow.digest)
    )
    counts = [
        Count(revision, digest, line, int(complete), int(lacking), fields)
        for revision, digest, line, fields, complete, lacking in session.execute(query)
    ]
    return sorted(counts, key=lambda count: (-count.entries, count.line))


def _filled(session: Session, board: Board, chosen: Count, begin: Cursor, limit: int) -> Board:
    """Put a page of entries on a board."""
    complete = [] if begin.id is None else _complete(session, board, chosen, begin, limit)
    incomplete: Sequence[Any] = ()
    if chosen.incomplete and begin.incomplete_id is not None:
        incomplete = _incomplete(session, board, chosen, begin.incomplete_id, limit)
    more, more_incomplete = len(complete) > limit, len(incomplete) > limit
    complete, incomplete = complete[:limit], incomplete[:limit]
    ranks = _ranks(session, board, chosen, [(row.merit, row.id) for row in complete], first=begin == Cursor())
    merit, last = (complete[-1].merit, complete[-1].id) if more else (None, None)
    following = Cursor(merit, last, incomplete[-1].id if more_incomplete else None)
    return replace(
        board,
        protocol=chosen.line,
        rows=tuple(
            _standing(chosen, row, (row.value, row.spread, row.lower, row.upper), rank)
            for row, rank in zip(complete, ranks, strict=True)
        ),
        incomplete=tuple(_standing(chosen, row) for row in incomplete),
        total=chosen.complete,
        total_incomplete=chosen.incomplete,
        next_cursor=str(following) if more or more_incomplete else None,
    )


def _values(board: Board) -> tuple[Any, ...]:
    """What the values on the boards of all revisions and protocols have in common."""
    return (
        ResultValueRow.dataset == board.dataset,
        ResultValueRow.stream == board.stream,
        ResultValueRow.split == (board.split or 0),
        ResultValueRow.metric == board.metric,
    )


def _values_of(board: Board, chosen: Count) -> tuple[Any, ...]:
    mine = (ResultValueRow.revision == chosen.revision, ResultValueRow.protocol.in_(chosen.protocols))
    return (*_values(board), *mine)


def _lacking(board: Board) -> tuple[Any, ...]:
    """What means without a value have in common, likewise."""
    return ResultRow.dataset == board.dataset, ResultRow.stream == board.stream, INCOMPLETE


def _complete(session: Session, board: Board, chosen: Count, begin: Cursor, limit: int) -> Sequence[Any]:
    """Return the complete entries of a page and, where there are more, one of the next."""
    merit, row_id = ResultValueRow.merit, ResultValueRow.result_id
    query = (
        select(*ENTRY, _splits(board), FLAGS, *VALUE, merit)
        .join(ResultRow, ResultRow.id == row_id)
        .where(*_values_of(board, chosen))
    )
    if begin.merit is not None:
        query = query.where(merit <= begin.merit, or_(merit < begin.merit, row_id > begin.id))
    return session.execute(query.order_by(merit.desc(), row_id).limit(limit + 1)).all()


def _incomplete(session: Session, board: Board, chosen: Count, after: int, limit: int) -> Sequence[Any]:
    """Return the incomplete entries of a page, likewise."""
    mine = (ResultRow.revision == chosen.revision, ResultRow.protocol.in_(chosen.protocols), ResultRow.id > after)
    query = select(*ENTRY, _splits(board), FLAGS).where(*_lacking(board), *mine).order_by(ResultRow.id)
    return session.execute(query.limit(limit + 1)).all()


def _splits(board: Board) -> ColumnElement[Any]:
    """The values of the single splits of an entry, by split: asked for each entry of a page, and for no other."""
    split, value = aliased(ResultRow), aliased(ResultValueRow)
    query = (
        select(func.jsonb_object_agg(split.split, value.value))
        .join(value, value.result_id == split.id)
        .where(
            split.experiment_id == ResultRow.experiment_id,
            split.stream == ResultRow.stream,
            split.seed.is_(None),
            split.split.is_not(None),
            value.metric == board.metric,
        )
    )
    return query.correlate(ResultRow).scalar_subquery().label("splits")


def _ranks(
    session: Session, board: Board, chosen: Count, entries: Sequence[tuple[float, int]], *, first: bool
) -> Iterable[int]:
    """Return 1, 2, 2, 4, ...: equal values share a rank, also with entries of the pages before."""
    merits = [merit for merit, _ in entries]
    better, before = (0, 0) if first or not entries else _before(session, board, chosen, entries[0])
    return [1 + (better if merit == merits[0] else before + merits.index(merit)) for merit in merits]


def _before(session: Session, board: Board, chosen: Count, entry: tuple[float, int]) -> tuple[int, int]:
    """Return how many entries are better than one, and how many stand before it."""
    column, (merit, row_id) = ResultValueRow.merit, entry
    ahead = or_(column > merit, and_(column == merit, ResultValueRow.result_id < row_id))
    query = select(func.count().filter(column > merit), func.count())
    better, before = session.execute(query.where(*_values_of(board, chosen), column >= merit, ahead)).one()
    return better, before


def _standing(
    chosen: Count, row: Any, numbers: Sequence[float | None] = (None, None, None, None), rank: int | None = None
) -> Standing:
    value, spread, lower, upper = numbers
    splits = sorted((int(split), float(found)) for split, found in (row.splits or {}).items())
    return Standing(
        rank=rank,
        experiment_id=row.experiment_id,
        name=row.name,
        model=row.model,
        source=row.source,
        uploaded=row.uploaded,
        value=value,
        spread=spread,
        lower=lower,
        upper=upper,
        seeds=row.seeds,
        clips=row.clips,
        excluded=row.excluded,
        splits=dict(splits),
        missing_splits=tuple(row.missing_splits),
        selected_on_test=chosen.is_on_test(row.protocol),
        flags=tuple(row.flags),
    )
