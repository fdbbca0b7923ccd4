"""The entries of a board as they are read: counted, a page at a time, and with their hits; by indexes alone.

A page takes from each protocol that is ranked as many entries as it may hold, each in the order of the index, and
keeps the best of them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import Row, TextClause, text
from sqlalchemy.orm import Session

from services.board.hits import Hits
from services.board.tally import Counted, Tally
from services.metrics import METRICS

FILTERS = {"model": "{0}model = :model", "source": "{0}source = :source", "seeds": "{0}seeds >= :seeds"}
OF_RESULT = {
    **FILTERS,
    "source": "CASE WHEN {0}uploaded THEN 'uploaded' WHEN {0}source = 'ensemble' THEN 'ensemble' ELSE 'trained' END"
    " = :source",
}
"""What leaves entries out: of rows of values, whose index has it, and of results without one."""
ENTRY = """
    result.id, experiment_id, result.name, result.model, result.source, result.uploaded, result.seeds, clips, excluded,
    missing_splits, result.$protocol AS protocol, spec -> 'model' AS network, spec #> '{flow_stream,model}' AS beside,
    flags,
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
SELECT entry.revision, digest, line, coalesce(string_agg(complete, ''), ''), coalesce(string_agg(incomplete, ''), ''),
    fields FROM (
    SELECT revision, protocol, string_agg(int8send(result_id), '') AS complete, NULL AS incomplete
    FROM result_value AS value
    WHERE dataset = :dataset AND stream = :stream AND split = :split AND metric = :metric AND $filters AND $value_in
    GROUP BY revision, protocol
    UNION ALL
    SELECT revision, $protocol, NULL, string_agg(int8send(id), '') FROM result AS value
    WHERE dataset = :dataset AND stream = :stream AND missing_splits <> '{}' AND NOT withdrawn AND :split = 0
    AND $protocol IS NOT NULL AND $of_result AND $result_in
    GROUP BY revision, $protocol
) AS entry JOIN protocol ON digest = entry.protocol
GROUP BY entry.revision, digest
"""
"""What there is of each revision and protocol, with a value and without, by id; split 0 is the mean."""
ALL = {"$value_in": "true", "$result_in": "true"}
SOME = {
    f"${name}_in": f"{id_} = ANY(CAST(:ids AS bigint[]))" for name, id_ in (("value", "result_id"), ("result", "id"))
}
"""Of all entries, or of some results."""
ORDER = f"""
SELECT found.* FROM unnest(CAST(:protocols AS text[])) AS ranked (protocol) CROSS JOIN LATERAL (
    SELECT result_id, merit FROM result_value AS value
    WHERE {BOARD} AND value.protocol = ranked.protocol AND $where
    ORDER BY merit DESC, result_id LIMIT :limit
) AS found ORDER BY merit DESC, result_id LIMIT :limit OFFSET :start
"""  # noqa: S608 - of fixed parts, as those below; values are bound
AFTER = "merit <= :merit AND (merit < :merit OR result_id > :after)"
# A lateral query with a limit is read by index for each id, however many there are.
COMPLETE = f"""
SELECT found.* FROM unnest(CAST(:ids AS bigint[])) AS wanted (id) CROSS JOIN LATERAL (
    SELECT {ENTRY}, value.value, spread, lower, upper FROM result
    JOIN result_value AS value ON value.result_id = result.id AND value.metric = :metric
    JOIN experiment ON experiment.id = experiment_id
    WHERE result.id = wanted.id LIMIT 1
) AS found
"""  # noqa: S608
INCOMPLETE = f"""
SELECT {ENTRY} FROM (
    SELECT found.id FROM unnest(CAST(:protocols AS text[])) AS ranked (protocol) CROSS JOIN LATERAL (
        SELECT id FROM result AS value
        WHERE dataset = :dataset AND stream = :stream AND revision = :revision AND value.$protocol = ranked.protocol
        AND missing_splits <> '{{}}' AND NOT withdrawn AND id > :after AND $of_result
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
HITS = """
SELECT found.* FROM unnest(CAST(:ids AS bigint[])) AS wanted (id) CROSS JOIN LATERAL (
    SELECT result_id, truth, seeds, bits FROM result_hits WHERE result_id = wanted.id AND within = :within LIMIT 1
) AS found
"""


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

    @property
    def _protocol(self) -> str:
        """The column of a result that says how the board's metric was measured."""
        return "protocol" if METRICS[self.key["metric"]].overlap is None else "box_protocol"

    def tally(self, known: Tally | None = None, changed: Collection[int] = ()) -> Tally:
        """Count entries.

        Args:
            known: what was counted before; None counts them all.
            changed: ids of the results that have changed since.
        """
        if known is None:
            return Tally.of(map(Counted._make, self._read(_with(COUNTS, ALL))))
        if not changed:
            return known
        rows = self._read(_with(COUNTS, SOME), ids=sorted(changed))
        return known.changed(changed, map(Counted._make, rows))

    def places(self, ranked: Mapping[str, Any], start: int, end: int) -> list[tuple[int, float]]:
        """Return ids of results and merits of the entries between two places, best first; ``ranked`` has the revision
        and the protocols."""
        rows = self._read(ORDER, ranked, where="true", start=start, limit=end)
        return [(row.result_id, row.merit) for row in rows[: end - start]]

    def following(self, ranked: Mapping[str, Any], merit: float, after: int, limit: int) -> list[tuple[int, float]]:
        """Return the same of entries from one on."""
        rows = self._read(ORDER, ranked, where=AFTER, merit=merit, after=after, start=0, limit=limit)
        return [(row.result_id, row.merit) for row in rows]

    def complete(self, ids: Sequence[int]) -> Sequence[Row[Any]]:
        """Return entries with a value by the ids of their results, in whatever order."""
        return self._read(COMPLETE, ids=list(ids)) if ids else ()

    def incomplete(self, ranked: Mapping[str, Any], after: int, limit: int) -> Sequence[Row[Any]]:
        """Return entries without a value from one on."""
        return self._read(INCOMPLETE, ranked, after=after, limit=limit)

    def before(self, ranked: Mapping[str, Any], merit: float, id: int) -> tuple[int, int]:  # noqa: A002
        """Return how many entries are better than one, and how many stand before it."""
        row = self._read(BEFORE, ranked, merit=merit, id=id)[0]
        return row.better, row.before

    def hits(self, ids: Sequence[int], within: int) -> dict[int, Hits]:
        """Return the hits of results by their ids, where there are any."""
        rows = self._read(HITS, ids=list(ids), within=within) if ids else ()
        return {row.result_id: Hits(row.truth, row.seeds, row.bits) for row in rows}

    def _read(
        self, sql: str, ranked: Mapping[str, Any] | None = None, where: str = "", **values: Any
    ) -> Sequence[Row[Any]]:
        given = self.filters.given
        query = _query(sql, where, tuple(given), self._protocol)
        return self.session.execute(query, {**self.key, **(ranked or {}), **given, **values}).all()


def _with(sql: str, parts: Mapping[str, str]) -> str:
    for name, part in parts.items():
        sql = sql.replace(name, part)
    return sql


@cache
def _query(sql: str, where: str, filters: tuple[str, ...], protocol: str) -> TextClause:
    """Return a query with its filters, which is made once."""
    sql = sql.replace("$where", where).replace("$protocol", protocol)
    conditions = {"$filters": FILTERS, "$of_result": OF_RESULT}
    given = {
        name: " AND ".join(own[each].format("value.") for each in filters) or "true" for name, own in conditions.items()
    }
    return text(_with(sql, given))
