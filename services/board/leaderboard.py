"""Ranks measured results; it reads their rows alone and mixes neither protocols nor revisions of a dataset."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import TextClause, bindparam, text
from sqlalchemy.orm import Session

from services import revisions
from services.board.choice import Count, SelectedOnTest, choose
from services.board.cursor import Cursor
from services.errors import InvalidRequest, NotFound
from services.metrics import METRICS, PRIMARY

STREAMS = ("rgb", "flow", "two-stream")

COUNTS = text("""
SELECT entry.revision, digest, line, sum(complete)::int, sum(incomplete)::int, fields FROM (
    SELECT revision, protocol, count(*) AS complete, 0 AS incomplete FROM result_value
    WHERE dataset = :dataset AND stream = :stream AND split = :split AND metric = :metric
    GROUP BY revision, protocol
    UNION ALL
    SELECT revision, protocol, 0, count(*) FROM result
    WHERE dataset = :dataset AND stream = :stream AND missing_splits <> '{}' AND :split = 0
    GROUP BY revision, protocol
) AS entry JOIN protocol ON digest = entry.protocol
GROUP BY entry.revision, digest
""")
"""What there is of each revision and protocol, with a value and without; split 0 is the mean."""
ENTRY = """
    result.id, experiment_id, name, model, source, uploaded, seeds, clips, excluded, missing_splits, result.protocol,
    (SELECT jsonb_object_agg(single.split, value_of.value)
     FROM result AS single JOIN result_value AS value_of ON value_of.result_id = single.id
     WHERE single.experiment_id = result.experiment_id AND single.stream = result.stream AND single.seed IS NULL
     AND single.split IS NOT NULL AND value_of.metric = :metric) AS splits,
    (SELECT flags FROM experiment WHERE experiment.id = experiment_id) AS flags
"""
"""An entry, with what is looked up for each entry of a page, and for no other: the values of its single splits, and
what is doubtful of it."""
BOARD = """
    result_value.dataset = :dataset AND result_value.stream = :stream AND result_value.split = :split
    AND metric = :metric AND result_value.revision = :revision AND result_value.protocol IN :protocols
"""


def _query(sql: str) -> TextClause:
    """Return a query of entries under some protocols."""
    return text(sql).bindparams(bindparam("protocols", expanding=True))


COMPLETE = _query(f"""
SELECT {ENTRY}, value, spread, lower, upper, merit FROM result_value JOIN result ON result.id = result_id
WHERE {BOARD} AND merit <= :merit AND (merit < :merit OR result_id > :after)
ORDER BY merit DESC, result_id LIMIT :limit
""")  # noqa: S608 - of fixed parts; values are bound
INCOMPLETE = _query(f"""
SELECT {ENTRY} FROM result
WHERE dataset = :dataset AND stream = :stream AND revision = :revision AND protocol IN :protocols
AND missing_splits <> '{{}}' AND id > :after
ORDER BY id LIMIT :limit
""")  # noqa: S608 - of fixed parts; values are bound
BEFORE = _query(f"""
SELECT count(*) FILTER (WHERE merit > :merit), count(*) FROM result_value
WHERE {BOARD} AND merit >= :merit AND (merit > :merit OR result_id < :id)
""")  # noqa: S608 - of fixed parts; values are bound
"""How many entries are better than one, and how many stand before it."""


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
    counts = [Count(*row) for row in session.execute(COUNTS, _key(board))]
    return sorted(counts, key=lambda count: (-count.entries, count.line))


def _key(board: Board) -> dict[str, Any]:
    """Return what the boards of all revisions and protocols have in common."""
    return {"dataset": board.dataset, "stream": board.stream, "split": board.split or 0, "metric": board.metric}


def _filled(session: Session, board: Board, chosen: Count, begin: Cursor, limit: int) -> Board:
    """Put a page of entries on a board; one more than it holds says whether there is another page."""
    key = {**_key(board), "revision": chosen.revision, "protocols": chosen.protocols}
    complete: Sequence[Any] = ()
    if begin.id is not None:
        after = {"merit": begin.merit, "after": begin.id, "limit": limit + 1}
        complete = session.execute(COMPLETE, key | after).all()
    incomplete: Sequence[Any] = ()
    if chosen.incomplete and begin.incomplete_id is not None:
        incomplete = session.execute(INCOMPLETE, key | {"after": begin.incomplete_id, "limit": limit + 1}).all()
    more, more_incomplete = len(complete) > limit, len(incomplete) > limit
    complete, incomplete = complete[:limit], incomplete[:limit]
    better, before = 0, 0
    if complete and begin != Cursor():
        better, before = session.execute(BEFORE, key | {"merit": complete[0].merit, "id": complete[0].id}).one()
    merit, last = (complete[-1].merit, complete[-1].id) if more else (math.inf, None)
    following = Cursor(merit, last, incomplete[-1].id if more_incomplete else None)
    ranks = _ranks([row.merit for row in complete], better, before)
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


def _ranks(merits: Sequence[float], better: int, before: int) -> list[int]:
    """Return 1, 2, 2, 4, ...: equal values share a rank, also with entries of the pages before.

    Args:
        merits: of the page, best first.
        better: entries of the pages before that are better than its first.
        before: all entries of the pages before.
    """
    return [1 + (better if merit == merits[0] else before + merits.index(merit)) for merit in merits]


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
