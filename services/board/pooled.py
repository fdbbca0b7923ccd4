"""Experiments that differ in their seeds alone, as seeds of one system.

Whoever launches a system again with other seeds gets another experiment. A paper's table, and a comparison that asks
for it, take their seeds together; a board, whose pages are read by an index of rows that are there, does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import text
from sqlalchemy.orm import Session

from services import revisions
from services.board import means
from services.board.answers import Answers, Stream
from services.board.means import Measured, Row
from services.metrics import PRIMARY

ASIDE = ("name", "seeds", "priority", "refresh", "resources")
"""Of a spec, what may differ."""
SIBLINGS = text("""
SELECT other.id FROM experiment AS own JOIN experiment AS other ON other.dataset = own.dataset AND other.id <> own.id
WHERE own.id = :id AND other.state = 'succeeded' AND other.withdrawn_at IS NULL
AND other.spec - CAST(:aside AS text[]) = own.spec - CAST(:aside AS text[])
ORDER BY other.id
""")

Said = Mapping[tuple[int, int], Answers]
"""Answers by split and seed."""


def siblings(session: Session, experiment_id: str) -> list[str]:
    """Return the finished experiments that differ from one in seeds, name and resources alone, the oldest first."""
    return list(session.scalars(SIBLINGS, {"id": experiment_id, "aside": list(ASIDE)}))


def chosen(streams: Sequence[Stream]) -> list[int]:
    """Return the places of the streams whose answers are taken together.

    That is the first, and each further one that was measured alike, on the same clips, with seeds that none before it
    has. What was said of each clip has to be known of all.
    """
    found: list[int] = []
    seeds: set[int] = set()
    for place, stream in enumerate(streams):
        own, kept = set(stream.seeds), None not in stream.answers.values() and stream.answers
        alike = place == 0 or (seeds.isdisjoint(own) and _measured_as(stream) == _measured_as(streams[0]))
        if kept and alike and (found or place == 0):
            found.append(place)
            seeds |= own
    return found


def _measured_as(stream: Stream) -> set[tuple[str, int]]:
    return {(row.protocol, row.revision) for row in stream.rows}


def together(streams: Iterable[Stream]) -> dict[tuple[int, int], Answers]:
    """Return the answers of streams of `chosen` places, by split and seed."""
    return {place: said for stream in streams for place, said in stream.answers.items() if said is not None}


def row_of(session: Session, dataset: str, revision: int, said: Said, split: int | None) -> Row | None:
    """Return the top-1 accuracy of answers on a split, or their mean over splits, as a result has it.

    None where a split lacks a seed, or nothing is known of the revision.
    """
    known = revisions.known(session, dataset, revision)
    entries = [_measured(answers) for answers in said.values()]
    rows = [] if known is None else means.rows(entries, known)
    row = next((row for row in rows if row.split == split and row.seed is None), None)
    return None if row is None or row.missing_splits else row


def _measured(said: Answers) -> Measured:
    return Measured(
        stream="",
        split=said.split,
        seed=said.seed,
        values={PRIMARY: float(said.right.mean())},
        categories={},
        clips=len(said.ranks),
        stage_key="",
        ranks=said.ranks.tolist(),
        truth=said.test.digest,
    )
