"""Numbers say which lists and clips they were measured on; a change of them is noticed, and makes a revision."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from services import registry
from services.board import leaderboard, results
from services.datasets.layouts import digest_of_lists
from services.datasets.lists import read_lists
from services.db.engine import Database
from services.db.migrate import upgrade
from services.errors import Conflict
from services.planning.plan import plan
from services.stages import KINDS, IndexParams
from tests.services.conftest import small_spec, submit, write_lists
from tests.services.registered import NAME, Indexer, measure, register


def board(database: Database, **options: Any) -> leaderboard.Board:
    with database.transaction() as session:
        return leaderboard.rank(session, **{"dataset": NAME, "stream": "rgb", "split": 1, **options})


def test_other_clips_are_another_board(database: Database, lists: Path) -> None:
    register(database, lists)
    measure(database, 0.9)
    write_lists(lists, test=("Run/c.avi",))
    assert register(database, lists, replace=True) == 2
    assert board(database).rows == ()
    assert board(database).other_revisions == {1: 1}
    measure(database, 0.5, name="second")
    assert [row.value for row in board(database).rows] == [0.5]
    older = board(database, revision=1)
    assert ([row.value for row in older.rows], older.superseded) == ([0.9], True)


def test_a_revision_of_the_same_lists_and_clips_is_no_other_board(
    database: Database, lists: Path, tmp_path: Path
) -> None:
    register(database, lists)
    measure(database, 0.9)
    moved = lists.rename(tmp_path / "moved")
    assert register(database, moved, replace=True) == 2
    assert {row.revision for row in measure(database, 0.5)} == {1}
    found = board(database)
    assert ([row.value for row in found.rows], found.revision, found.superseded) == ([0.9, 0.5], 1, False)
    assert found.other_revisions == {}


@pytest.mark.parametrize(
    ("edit", "changed"),
    [
        (lambda lists: write_lists(lists, test=("Run/c.avi",)), True),
        (lambda lists: write_lists(lists, test=("Run/c.avi", "Hop/c.avi")), True),  # the order steers training
        (lambda lists: write_lists(lists, split=2), True),
        (lambda lists: (lists / "testlist01.txt").unlink(), True),
        (lambda lists: (lists / "classInd.txt").write_text("1 Hop\n2 Run\n"), True),
        (lambda lists: (lists / "classInd.txt").write_bytes(b"\xef\xbb\xbf1 Run\r\n2 Hop"), False),
        (lambda lists: (lists / "notes.txt").write_text("no list"), False),
        (lambda lists: lists.rename(lists.with_name("elsewhere")), False),  # the API does not see them any more
        (lambda lists: None, False),
    ],
)
def test_a_submission_notices_lists_that_changed(
    database: Database, lists: Path, edit: Callable[[Path], object], changed: bool
) -> None:
    register(database, lists)
    submit(database, small_spec(dataset=NAME))
    edit(lists)
    if not changed:
        submit(database, small_spec(dataset=NAME, name="again"))
        return
    with pytest.raises(Conflict, match=f"{NAME}.*lists in .* have changed since revision 1.*refresh"):
        submit(database, small_spec(dataset=NAME, name="again"))


def test_a_key_that_submitted_before_still_answers_after_a_change(database: Database, lists: Path) -> None:
    register(database, lists)
    first = submit(database, small_spec(dataset=NAME), idempotency_key="k")
    write_lists(lists, test=("Run/c.avi",))
    assert submit(database, small_spec(dataset=NAME), idempotency_key="k").row.id == first.row.id


def test_what_the_index_has_read_is_what_counts(database: Database, lists: Path) -> None:
    """Lists that change between registration and index, and back, are not taken for those that were measured on."""
    register(database, lists)
    submit(database, small_spec(dataset=NAME))
    write_lists(lists, test=("Run/c.avi",))
    Indexer(database).run()
    submit(database, small_spec(dataset=NAME, name="as read"))
    write_lists(lists)
    with pytest.raises(Conflict, match="have changed"):
        submit(database, small_spec(dataset=NAME, name="as registered"))


def test_clips_that_changed_in_place_are_another_revision_once_they_are_read_again(
    database: Database, lists: Path
) -> None:
    register(database, lists)
    measure(database, 0.9)
    with database.transaction() as session:
        session.execute(text("UPDATE stage SET state = 'evicted', output = NULL"))
    rows = measure(database, 0.2, clips="other", name="again", seeds=(0,), model={"kind": "max_pooling"})
    assert {row.revision for row in rows} == {2}
    with database.transaction() as session:
        assert registry.get(session, NAME).revision == 2
    found = board(database)
    assert [row.value for row in found.rows] == [0.2]
    assert found.other_revisions == {1: 1}


def test_the_mean_is_over_the_splits_of_the_revision_that_was_measured(database: Database, lists: Path) -> None:
    register(database, write_lists(lists, split=2))
    row = submit(database, small_spec(dataset=NAME, splits=(1, 2))).row
    worker = Indexer(database, rate=0.75)
    worker.end(worker.claim_any())  # type: ignore[arg-type]
    for part in ("train", "test"):
        (lists / f"{part}list02.txt").unlink()
    register(database, lists, replace=True)
    worker.run()
    with database.transaction() as session:
        (mean,) = [found for found in results.listing(session, row.id) if found.row.split is None]
    assert (mean.values["top1"].value, mean.row.missing_splits, mean.row.revision) == (0.75, [], 1)


def test_results_count_the_clips_that_were_left_out(database: Database, lists: Path) -> None:
    register(database, lists, exclude=["Run/b.avi", "Run/c.avi"])
    rows = measure(database, 0.5)
    assert {row.excluded for row in rows} == {2}
    register(database, lists, replace=True)
    assert {(row.excluded, row.revision) for row in measure(database, 0.5)} == {(0, 2)}
    assert [row.excluded for row in board(database).rows] == [0]
    assert [row.excluded for row in board(database, revision=1).rows] == [2]


def test_keys_of_datasets_that_leave_nothing_out_are_what_they_were() -> None:
    """The index of such a dataset is hours of work that an earlier version may have done."""
    before = IndexParams(dataset="ucf101", root="/clips", annotations="/lists")
    stages = plan(small_spec(dataset="ucf101"), before)
    params = {"dataset": "ucf101", "layout": "ucf101", "root": "/clips", "annotations": "/lists", "revision": 1}
    content = {"kind": "index", "version": KINDS["index"].version, "params": params | {"generator": None}, "inputs": []}
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    assert stages[0].key == hashlib.sha256(canonical.encode()).hexdigest()
    checked = plan(small_spec(dataset="ucf101"), before.model_copy(update={"splits": (1, 2, 3)}))
    assert [stage.key for stage in checked] == [stage.key for stage in stages]
    less = plan(small_spec(dataset="ucf101"), before.model_copy(update={"exclude": ("Run/a.avi",)}))
    other = plan(small_spec(dataset="ucf101"), before.model_copy(update={"exclude": ("Run/b.avi",)}))
    assert len({stages[0].key, less[0].key, other[0].key}) == 3


def test_the_hash_of_lists_takes_milliseconds_of_what_a_reader_takes(lists: Path) -> None:
    assert digest_of_lists("ucf101", lists) == digest_of_lists("ucf101", lists)
    found = read_lists("ucf101", str(lists))
    assert found is not None
    assert found.digest == digest_of_lists("ucf101", lists)


def test_stored_results_of_the_version_before_are_migrated(empty_database: Callable[[], str]) -> None:
    url = empty_database()
    upgrade(url, "0003")
    engine = create_engine(url)
    with engine.begin() as connection:
        for statement in BEFORE.split(";\n"):
            connection.execute(text(statement))
    upgrade(url)
    query = """
        SELECT experiment_id, result.revision, excluded, spread, clips, lower
        FROM result JOIN result_value ON result_id = id WHERE result.split IS NULL ORDER BY 1
    """
    with engine.begin() as connection:
        found = [tuple(row) for row in connection.execute(text(query))]
    engine.dispose()
    assert found == [
        ("exp_h", 1, 0, None, None, None),
        ("exp_u", 3, 0, pytest.approx(0.0707, abs=1e-4), 300, 0.5),
    ]


BEFORE = """
INSERT INTO dataset (name, layout, revision) VALUES ('u', 'ucf101', 4), ('h', 'hmdb51', 1);
INSERT INTO experiment (id, name, owner, dataset, spec, body_digest)
VALUES ('exp_u', 'u', 'o', 'u', '{}', ''), ('exp_h', 'h', 'o', 'h', '{}', '');
INSERT INTO stage (key, kind, params, label, queue, owner, timeout_seconds)
VALUES ('k', 'index', '{"dataset": "u", "revision": 3}', 'index', 'cpu', 'o', 1);
INSERT INTO experiment_stage (experiment_id, stage_key, position) VALUES ('exp_u', 'k', 0);
INSERT INTO result (experiment_id, dataset, stream, split, seed, protocol, model, name, top1, clips, lower, spread)
SELECT 'exp_' || d, d, 'rgb', split, NULL, 'p', 'm', 'n', 0.6, 100, 0.5, 0.1
FROM unnest(ARRAY['u', 'h']) AS d, generate_series(1, 3) AS split;
INSERT INTO result (experiment_id, dataset, stream, split, seed, protocol, model, name, top1, clips, lower, spread)
SELECT 'exp_' || d, d, 'rgb', NULL, NULL, 'p', 'm', 'n', 0.6, 300, 0.5, 0.1 FROM unnest(ARRAY['u', 'h']) AS d;
INSERT INTO result (experiment_id, dataset, stream, split, seed, protocol, model, name, top1, clips)
SELECT 'exp_u', 'u', 'rgb', split, seed, 'p', 'm', 'n', 0.5 + seed * 0.1, 100
FROM generate_series(1, 3) AS split, generate_series(0, 1) AS seed;
INSERT INTO result (experiment_id, dataset, stream, split, seed, protocol, model, name, top1, clips)
SELECT 'exp_h', 'h', 'rgb', split, 0, 'p', 'm', 'n', 0.6, 100 FROM generate_series(1, 3) AS split
"""
