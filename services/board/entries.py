"""The entries of a board as they are read: counted, a page at a time, and with their hits; by indexes alone.

A page takes from each protocol that is ranked as many entries as it may hold, each in the order of the index, and
keeps the best of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import Row, TextClause, text
from sqlalchemy.orm import Session

from services.board.choice import Count
from services.board.hits import Hits

FILTERS = {"model": "{0}model = :model", "source": "{0}source = :source", "seeds": "{0}seeds >= :seeds"}
OF_RESULT = {
    **FILTERS,
    "source": "CASE WHEN {0}uploaded THEN 'uploaded' WHEN {0}source = 'ensemble' THEN 'ensemble' ELSE 'trained' END"
    " = :source",
}
"""What leaves entries out: of rows of values, whose index has it, and of results without one."""
ENTRY = """
    result.id, experiment_id, result.name, result.model, result.source, result.uploaded, result.seeds, clips, excluded,
    missing_splits, result.protocol, spec -> 'model' AS network, spec #> '{flow_stream,model}' AS beside, flags,
    (SELECT jsonb_object_agg(single.split, value_of.value)
     FROM result AS single JOIN result_value AS value_of ON value_of.result_id = single.id
     WHERE single.experiment_id = result.experiment_id AND single.stream = result.stream AND single.seed IS NULL
     AND single.split IS NOT NULL AND value_of.metric = :metric) AS splits
"""
"""An entry, with what is looked up for each entry of a page, and for no other: its experiment, and the values of its
single splits."""
BOARD = """
    value.dataset = :dataset AND value.stream = :stream AND value.split = :split AND value.metric = :metric
    AND value.revision = :revision AND $filters
"""
COUNTS = """
SELECT entry.revision, digest, line, sum(complete)::int, sum(incomplete)::int, fields FROM (
    SELECT revision, protocol, count(*) AS complete, 0 AS incomplete FROM result_value AS value
    WHERE dataset = :dataset AND stream = :stream AND split = :split AND metric = :metric AND $filters
    GROUP BY revision, protocol
    UNION ALL
    SELECT revision, protocol, 0, count(*) FROM result AS value
    WHERE dataset = :dataset AND stream = :stream AND missing_splits <> '{}' AND :split = 0 AND $of_result
    GROUP BY revision, protocol
) AS entry JOIN protocol ON digest = entry.protocol
GROUP BY entry.revision, digest
"""
"""What there is of each revision and protocol, with a value and without; split 0 is the mean."""
BEST = f"""
    SELECT found.* FROM unnest(CAST(:protocols AS text[])) AS ranked (protocol) CROSS JOIN LATERAL (
        SELECT result_id, value, spread, lower, upper, merit FROM result_value AS value
        WHERE {BOARD} AND value.protocol = ranked.protocol AND $where
        ORDER BY merit DESC, result_id LIMIT :limit
    ) AS found ORDER BY merit DESC, result_id LIMIT :limit
"""  # noqa: S608 - of fixed parts, as those below; values are bound
AFTER = "merit <= :merit AND (merit < :merit OR result_id > :after)"
COMPLETE = f"""
SELECT {ENTRY}, best.value, spread, lower, upper, merit FROM ({BEST}) AS best
JOIN result ON result.id = best.result_id JOIN experiment ON experiment.id = experiment_id
ORDER BY merit DESC, result.id
"""  # noqa: S608
INCOMPLETE = f"""
SELECT {ENTRY} FROM (
    SELECT found.id FROM unnest(CAST(:protocols AS text[])) AS ranked (protocol) CROSS JOIN LATERAL (
        SELECT id FROM result AS value
        WHERE dataset = :dataset AND stream = :stream AND revision = :revision AND value.protocol = ranked.protocol
        AND missing_splits <> '{{}}' AND id > :after AND $of_result
        ORDER BY id LIMIT :limit
    ) AS found ORDER BY id LIMIT :limit
) AS first JOIN result ON result.id = first.id JOIN experiment ON experiment.id = experiment_id
ORDER BY result.id
"""  # noqa: S608
BEFORE = f"""
SELECT count(*) FILTER (WHERE merit > :merit) AS better, count(*) AS before FROM result_value AS value
WHERE {BOARD} AND value.protocol = ANY(CAST(:protocols AS text[]))
AND merit >= :merit AND (merit > :merit OR result_id < :id)
"""  # noqa: S608
HITS = f"""
SELECT best.result_id, merit, truth, result_hits.seeds, bits FROM (
    SELECT result_id, merit FROM ({BEST}) AS top ORDER BY merit DESC, result_id OFFSET :start
) AS best LEFT JOIN result_hits ON result_hits.result_id = best.result_id AND within = :within
ORDER BY merit DESC, best.result_id
"""  # noqa: S608


@dataclass(frozen=True)
class Filters:
    """What an entry must have to be on a board.

    Attributes:
        model: the kind of its network.
        source: ``trained``, ``ensemble``, or ``uploaded`` for what has scores that were computed elsewhere.
        seeds: over how many, at the least, its value is a mean.
    """

    model: str | None = None
    source: str | None = None
    seeds: int | None = None

    @property
    def given(self) -> dict[str, Any]:
        """Those that leave something out."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class Entries:
    """Reads a board.

    Attributes:
        session: a transaction of the caller.
        key: dataset, stream, split (0 for the mean) and metric.
        filters: what leaves entries out.
    """

    session: Session
    key: Mapping[str, Any]
    filters: Filters

    def counts(self) -> list[Count]:
        """Return what there is of each revision and protocol, most entries first."""
        counts = [Count(*tuple(row)) for row in self._read(COUNTS)]
        return sorted(counts, key=lambda count: (-count.entries, count.line))

    def complete(self, ranked: Mapping[str, Any], merit: float, after: int, limit: int) -> Sequence[Row[Any]]:
        """Return entries with a value from one on, best first; ``ranked`` has the revision and the protocols."""
        return self._read(COMPLETE, ranked, where=AFTER, merit=merit, after=after, limit=limit)

    def incomplete(self, ranked: Mapping[str, Any], after: int, limit: int) -> Sequence[Row[Any]]:
        """Return entries without a value from one on."""
        return self._read(INCOMPLETE, ranked, after=after, limit=limit)

    def before(self, ranked: Mapping[str, Any], merit: float, id: int) -> tuple[int, int]:  # noqa: A002
        """Return how many entries are better than one, and how many stand before it."""
        row = self._read(BEFORE, ranked, merit=merit, id=id)[0]
        return row.better, row.before

    def hits(
        self, ranked: Mapping[str, Any], within: int, start: int, end: int
    ) -> list[tuple[int, float, Hits | None]]:
        """Return id, merit and hits of the entries between two places, best first."""
        rows = self._read(HITS, ranked, where="true", within=within, start=start, limit=end)
        return [
            (row.result_id, row.merit, None if row.truth is None else Hits(row.truth, row.seeds, row.bits))
            for row in rows
        ]

    def _read(
        self, sql: str, ranked: Mapping[str, Any] | None = None, where: str = "", **values: Any
    ) -> Sequence[Row[Any]]:
        given = self.filters.given
        query = _query(sql, where, tuple(given))
        return self.session.execute(query, {**self.key, **(ranked or {}), **given, **values}).all()


@cache
def _query(sql: str, where: str, filters: tuple[str, ...]) -> TextClause:
    """Return a query with its filters, which is made once."""
    sql = sql.replace("$where", where)
    for name, conditions in (("$filters", FILTERS), ("$of_result", OF_RESULT)):
        sql = sql.replace(name, " AND ".join(conditions[each].format("value.") for each in filters) or "true")
    return text(sql)
