"""Fills in which clips old results had right, so that they have rank groups too: bit by bit, from stored predictions.

Results are looked at in the order of their ids, up to the last one that there was when this began; later ones have
their hits from the beginning. What was measured before predictions were kept stays without.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from services import chores, revisions
from services.board import means, predictions
from services.board.hits import Hits
from services.board.means import Measured
from services.db.tables import ResultHitsRow, ResultRow
from services.journal import events

CHORE = "hits of old results"
BATCH = 100
"""Results that are looked at in a transaction; of each the predictions of all of its seeds and splits are read."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """How far this is.

    Attributes:
        after: the id of the last result that was looked at.
        of: the last one that there was when this began.
        filled: how many got their hits.
    """

    after: int
    of: int
    filled: int

    @property
    def done(self) -> bool:
        """Whether all were looked at."""
        return self.after >= self.of


def progress(session: Session) -> Progress | None:
    """Return how far this is, or None before it begins."""
    found = chores.progress(session, CHORE)
    return None if found is None else Progress(**found)


def fill(session: Session, limit: int = BATCH) -> Progress:
    """Look at the next results, and return how far this is now; the end is told as the event ``board.hits_filled``."""
    last = progress(session)
    if last is None:
        last = Progress(0, session.scalar(select(func.max(ResultRow.id))) or 0, 0)
        chores.note(session, CHORE, asdict(last))
    if last.done:
        return last
    query = select(ResultRow).where(ResultRow.id > last.after, ResultRow.id <= last.of)
    rows = list(session.scalars(query.order_by(ResultRow.id).limit(limit)))
    lacking = select(ResultHitsRow.result_id).where(ResultHitsRow.result_id.in_([row.id for row in rows]))
    there = set(session.scalars(lacking))
    ranked = [row for row in rows if row.seed is None and not row.missing_splits and row.id not in there]
    filled = sum(_fill(session, row) for row in ranked)
    now = Progress(rows[-1].id if len(rows) == limit else last.of, last.of, last.filled + filled)
    chores.note(session, CHORE, asdict(now))
    log.info("hits of old results: looked at %d of %d, filled %d", now.after, now.of, now.filled)
    if now.done:
        events.tell(session, "board.hits_filled", filled=now.filled)
    return now


def _fill(session: Session, row: ResultRow) -> bool:
    """Write the hits of one result, and say whether it has any."""
    mine = (ResultRow.experiment_id == row.experiment_id, ResultRow.stream == row.stream, ResultRow.seed.is_not(None))
    seeds = list(session.scalars(select(ResultRow).where(*mine).order_by(ResultRow.split, ResultRow.seed)))
    found = _hits(session, seeds, row)
    for within, hits in found.items():
        values = {"result_id": row.id, "within": within, **asdict(hits)}
        session.execute(insert(ResultHitsRow).values(values).on_conflict_do_nothing())
    if found:  # the board's version notices that its row was written
        session.execute(update(ResultRow).where(ResultRow.id == row.id).values(clips=ResultRow.clips))
    return bool(found)


def _hits(session: Session, seeds: Iterable[ResultRow], row: ResultRow) -> Mapping[int, Hits]:
    of_split = [each for each in seeds if row.split in (None, each.split)]
    known = predictions.ranked(session, {each.prediction for each in of_split if each.prediction is not None})
    entries = [
        Measured(
            stream=each.stream,
            split=each.split or 0,
            seed=each.seed or 0,
            values={},
            categories={},
            clips=each.clips or 0,
            stage_key=each.stage_key or "",
            ranks=known[each.prediction].ranks,
            truth=known[each.prediction].truth,
        )
        for each in of_split
        if each.prediction in known
    ]
    if not entries or len(entries) < len(of_split):
        return {}
    revision = revisions.numbered(session, row.dataset, row.revision)
    made = means.rows(entries, revision)
    return next((each.hits for each in made if each.seed is None and each.split == row.split), {})
