"""Words and tags by which experiments are found, and that an index finds them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import event, text

from services.api_keys import LOCAL
from services.db.engine import Database
from services.queue import edits, experiments
from services.queue.edits import Edit
from services.specs.networks import MeanPooling
from tests.services.conftest import small_spec, submit


@pytest.fixture
def named(database: Database) -> dict[str, str]:
    """Ids of some experiments by a word for each."""
    first = submit(database, small_spec(name="TS-LSTM, 3 segments"), owner="ana").row.id
    second = submit(
        database, small_spec(name="Größe_2", model=MeanPooling()), owner="ben", recipe="demo_ts_lstm"
    ).row.id
    third = submit(database, small_spec(name="e1e5x"), owner="ana").row.id
    edit = Edit(note="Rate of 1e-4 diverged:\nsee table 7", add=["paper:ts-lstm", "keep"])
    database.run(lambda session: edits.edit(session, first, edit, LOCAL))
    database.run(lambda session: edits.edit(session, second, Edit(add=["keep"]), LOCAL))
    return {first: "first", second: "second", third: "third"}


def found(database: Database, named: dict[str, str], **wanted: Any) -> set[str]:
    with database.transaction() as session:
        return {named[row.id] for row in experiments.page(session, **wanted).items}


WORDS: dict[str, set[str]] = {
    "lstm": {"first", "second", "third"},  # by name, recipe or network
    "TS segments": {"first"},
    "segm": {"first"},
    "egments": set(),
    "größe": {"second"},
    "GRÖSSE": set(),
    "mean_pooling": {"second"},
    "ana": {"first", "third"},
    "queued": {"first", "second", "third"},
    "diverged table": {"first"},
    "paper:ts-lstm": {"first"},
    "1e": {"first"},
    "e1": {"third"},
    "motion": {"first", "second", "third"},
    "motion nothing": set(),
    " -- ": set(),
    "'; DROP TABLE x; --\\": set(),
    "a & !b | (c:*)": set(),
    "x" * 200: set(),
}


def test_all_words_are_found_by_their_beginnings(database: Database, named: dict[str, str]) -> None:
    assert {words: found(database, named, words=words) for words in WORDS} == WORDS


def test_a_change_of_state_is_found(database: Database, named: dict[str, str]) -> None:
    id_ = next(iter(named))
    database.run(lambda session: experiments.cancel(session, id_, LOCAL))
    assert found(database, named, words="cancelled") == {"first"}
    assert found(database, named, words="queued") == {"second", "third"}


def test_tags_are_all_there_and_archived_ones_are_left_out(database: Database, named: dict[str, str]) -> None:
    assert found(database, named, tags=["keep"]) == {"first", "second"}
    assert found(database, named, tags=["keep", "paper:ts-lstm"]) == {"first"}
    assert found(database, named, tags=["kee"]) == set()
    id_ = next(iter(named))
    database.run(lambda session: edits.edit(session, id_, Edit(archived=True), LOCAL))
    assert found(database, named) == {"second", "third"}
    assert found(database, named, archived="only") == {"first"}
    assert found(database, named, archived="any", tags=["keep"]) == {"first", "second"}


def test_a_long_word_and_much_of_it_can_be_kept_and_found(database: Database, named: dict[str, str]) -> None:
    id_ = next(iter(named))
    note = "é" * 1900 + " " + "end"
    database.run(lambda session: edits.edit(session, id_, Edit(note=note), LOCAL))
    assert found(database, named, words="é" * 100) == {"first"}
    assert found(database, named, words="end") == {"first"}


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from nodes(inner)


@pytest.mark.parametrize(
    ("wanted", "index"), [({"words": "rare seven"}, "ix_experiment_words"), ({"tags": ["rare"]}, "ix_experiment_tags")]
)
def test_few_of_many_are_found_by_an_index(database: Database, wanted: dict[str, Any], index: str) -> None:
    with database.transaction() as session:
        session.execute(
            text("""
            INSERT INTO experiment (id, name, owner, dataset, spec, state, body_digest, tags, created_at)
            SELECT 'exp_' || n, CASE n % 1000 WHEN 7 THEN 'a rare seven' ELSE 'common' END, 'o', 'd', '{}', 'succeeded',
                '', CASE n % 1000 WHEN 7 THEN ARRAY['rare'] ELSE ARRAY['often'] END, now() - n * interval '1 s'
            FROM generate_series(1, 5000) AS n""")
        )
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE experiment"))
    asked: list[tuple[str, Any]] = []
    event.listen(database.engine, "before_cursor_execute", lambda *call: asked.append((call[2], call[3])))
    with database.transaction() as session:
        page = experiments.page(session, **wanted, limit=2)
        assert (page.total, [row.id for row in page.items]) == (5, ["exp_7", "exp_1007"])
        following = experiments.page(session, **wanted, limit=2, cursor=page.next_cursor)
        assert [row.id for row in following.items] == ["exp_2007", "exp_3007"]
    read = []
    with database.engine.connect() as connection:
        for query, values in [each for each in asked if "SELECT" in each[0]]:
            (plan,) = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {query}", values).scalar_one()
            read += list(nodes(plan["Plan"]))
    assert not [node for node in read if node["Node Type"] == "Seq Scan" and node["Relation Name"] == "experiment"]
    assert index in {node.get("Index Name") for node in read}
