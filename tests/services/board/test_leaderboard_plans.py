"""However many results there are, a page of the leaderboard is read by indexes alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import event, text

from services.board import leaderboard
from services.board.entries import Filters
from services.db.engine import Database

EXPERIMENTS, PROTOCOLS = 1000, 3
FILL = f"""
SET LOCAL session_replication_role = replica;
INSERT INTO protocol (digest, fields, line)
SELECT md5('p' || n), '{{}}', 'line ' || n FROM generate_series(1, {PROTOCOLS}) AS n;
INSERT INTO experiment (id, name, owner, dataset, spec, state, body_digest)
SELECT 'exp_' || n, 'x', 'o', 'motion_shapes', '{{}}', 'succeeded', '' FROM generate_series(1, {EXPERIMENTS}) AS n;
INSERT INTO result (experiment_id, dataset, stream, split, seed, protocol, model, name, missing_splits)
SELECT 'exp_' || n, 'motion_shapes', stream, nullif(split, 0), nullif(seed, 1), md5('p' || 1 + n % {PROTOCOLS}), 'm',
       'x',
       CASE WHEN split = 0 AND n % 5 = 0 THEN '{{3}}' ELSE '{{}}' END::smallint[]
FROM generate_series(1, {EXPERIMENTS}) AS n, unnest(ARRAY['rgb', 'two-stream']) AS stream,
     generate_series(0, 3) AS split, generate_series(0, 1) AS seed
WHERE split > 0 OR seed = 1;
INSERT INTO result_value (result_id, metric, value, merit, dataset, stream, split, revision, protocol, model, source,
                          seeds)
SELECT id, metric, id % 97, id % 97, CASE WHEN seed IS NULL THEN dataset END, stream, coalesce(split, 0), revision,
       protocol, model, 'trained', seeds
FROM result, unnest(ARRAY['top1', 'top5', 'mean_class']) AS metric WHERE missing_splits = '{{}}';
INSERT INTO result_hits (result_id, within, truth, seeds, bits)
SELECT id, 1, 't', 1, sha256(id::text::bytea) FROM result WHERE seed IS NULL
"""
LARGE = {"result", "result_value", "result_hits", "experiment", "prediction"}


@pytest.fixture
def filled(database: Database) -> Database:
    """A database with some ten thousand results; what refers to what is not checked, to be there soon."""
    with database.transaction() as session:
        for statement in FILL.split(";\n"):
            session.execute(text(statement))
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))
    return database


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from nodes(inner)


@pytest.mark.parametrize(
    ("split", "options"),
    [
        (None, {}),
        (2, {}),
        (None, {"filters": Filters(model="m", source="trained", seeds=1)}),
        (2, {"vary": ["frames"]}),
    ],
)
def test_pages_are_read_by_indexes_alone(filled: Database, split: int | None, options: dict[str, Any]) -> None:
    asked: list[tuple[str, Any]] = []
    event.listen(filled.engine, "before_cursor_execute", lambda *call: asked.append((call[2], call[3])))
    cursor = None
    for first in (1, 21):
        with filled.transaction() as session:
            page = leaderboard.rank(session, dataset="motion_shapes", split=split, limit=20, cursor=cursor, **options)
        cursor = page.next_cursor
        assert (len(page.rows), len(page.incomplete)) == (20, 20 if split is None else 0)
        assert page.rows[-1].rank in range(first, first + 20)
        assert page.rows[-1].group is not None
    queries = [(query, values) for query, values in asked if query.lstrip().startswith("SELECT")]
    found = []
    with filled.engine.connect() as connection:
        for query, values in queries:
            (plan,) = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {query}", values).scalar_one()
            found += nodes(plan["Plan"])
    read = {node["Index Name"] for node in found if "Index Name" in node}
    assert {node["Relation Name"] for node in found if node["Node Type"].endswith("Seq Scan")} & LARGE == set()
    assert {"ix_result_value_board", "pk_result_hits"} <= read
    assert ("ix_result_incomplete" in read) == (split is None)
    left_out = [str(node.get("Filter")) for node in found if node.get("Relation Name") == "result_value"]
    assert not [condition for condition in left_out if re.search("model|source|seeds", condition)]  # the index has them
