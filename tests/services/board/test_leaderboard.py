from __future__ import annotations

import statistics
from typing import Any

import pytest

from services.board import leaderboard, results
from services.board.entries import Filters
from services.board.leaderboard import Board
from services.db.engine import Database
from services.db.tables import DatasetRow
from services.errors import AlteredCursor, Cause, InvalidRequest, NotFound
from services.metrics import METRICS, Metric
from services.queue.claim import Claim
from services.specs import EvaluationSpec, TrainingSpec
from services.statistics.intervals import wilson
from tests import published
from tests.services.conftest import Decreed, decreed_summary, result, small_spec, submit


def board(database: Database, **options: object) -> Board:
    with database.transaction() as session:
        return leaderboard.rank(session, **({"dataset": "motion_shapes", "stream": "rgb"} | options))  # type: ignore[arg-type]


def run(database: Database, name: str, rates: dict[int, float], **changes: object) -> str:
    """Run an experiment whose `fuse` stages give these rates by split."""
    row = submit(database, small_spec(name=name, splits=tuple(rates), priority=hash(name) % 100, **changes)).row
    worker = Decreed(database)

    def end(claim: Claim) -> None:
        if claim.kind == "fuse":
            split = claim.params["split"]
            worker.succeed(claim, results=[result("rgb", split, claim.params["seed"], rates[split])])
        else:
            worker.succeed(claim)

    worker.run_all(end)
    return row.id


def models(database: Database) -> list[dict[str, object]]:
    """Options that make each experiment's stages its own."""
    return [{"model": {"kind": "ts_lstm", "hidden": [width]}} for width in (8, 16, 32, 64)]


def test_the_mean_ranks_those_with_every_split_and_names_what_others_lack(database: Database) -> None:
    own = models(database)
    good = run(database, "good", {1: 0.9, 2: 0.8, 3: 0.7}, **own[0])
    better = run(database, "better", {1: 0.9, 2: 0.9, 3: 0.9}, **own[1])
    partial = run(database, "partial", {2: 1.0}, **own[2])
    found = board(database)
    assert [(row.rank, row.experiment_id) for row in found.rows] == [(1, better), (2, good)]
    assert found.rows[1].value == pytest.approx(0.8)
    assert found.rows[1].spread is None  # splits differ, but there is one seed
    assert found.rows[1].splits == {1: 0.9, 2: 0.8, 3: 0.7}
    assert found.rows[1].lower == pytest.approx(wilson(0.8, 300)[0])
    assert [(row.experiment_id, row.value, row.missing_splits) for row in found.incomplete] == [(partial, None, (1, 3))]
    second = board(database, split=2)
    assert [row.experiment_id for row in second.rows] == [partial, better, good]
    assert second.incomplete == ()


def test_equal_values_share_a_rank(database: Database) -> None:
    for name, options in zip("abc", models(database), strict=False):
        run(database, name, {1: 0.5 if name < "c" else 0.25}, **options)
    assert [row.rank for row in board(database, split=1).rows] == [1, 1, 3]


def test_protocols_are_never_mixed(database: Database) -> None:
    own = models(database)
    run(database, "a", {1: 0.5}, **own[0])
    run(database, "b", {1: 0.6}, **own[1])
    other = run(database, "c", {1: 0.9}, **own[2], evaluation=EvaluationSpec(frames=10))
    found = board(database, split=1)
    assert [row.name for row in found.rows] == ["b", "a"]
    assert found.protocol == "25 frames, centre crop, probabilities, last epoch; frames of stack 10"
    assert found.other_protocols == {"10 frames, centre crop, probabilities, last epoch; frames of stack 10": 1}
    chosen = board(database, split=1, protocol=next(iter(found.other_protocols)))
    assert [row.experiment_id for row in chosen.rows] == [other]


def test_epochs_chosen_on_the_test_list_are_ranked_among_others_only_if_asked(database: Database) -> None:
    own = models(database)
    on_test = {"training": TrainingSpec(selection="test")}
    honest = run(database, "honest", {1: 0.6}, **own[0])
    chosen = run(database, "chosen", {1: 0.9}, **own[1], **on_test)
    run(database, "chosen too", {1: 0.5}, **own[2], **on_test)
    usual = board(database, split=1)
    assert [(row.experiment_id, row.rank, row.selected_on_test) for row in usual.rows] == [(honest, 1, False)]
    (line,) = usual.other_protocols
    assert "best test epoch" in line
    flagged = board(database, split=1, selected_on_test="flag")
    assert [(row.name, row.rank, row.selected_on_test) for row in flagged.rows] == [
        ("chosen", 1, True), ("honest", 2, False), ("chosen too", 3, True),
    ]  # fmt: skip
    assert (flagged.protocol, flagged.total, flagged.other_protocols) == (usual.protocol, 3, {})
    alone = board(database, split=1, protocol=line)
    assert [(row.name, row.selected_on_test) for row in alone.rows] == [("chosen", True), ("chosen too", True)]
    with database.transaction() as session:
        assert {entry.selected_on_test for entry in results.listing(session, chosen)} == {True}
        assert {entry.selected_on_test for entry in results.listing(session, honest)} == {False}
    means = board(database, selected_on_test="flag")
    assert (means.total_incomplete, [row.selected_on_test for row in means.incomplete]) == (3, [False, True, True])


def test_pages_of_a_flagged_board_go_on(database: Database) -> None:
    own = models(database)
    for index, options in enumerate(own):
        selection = "test" if index % 2 else "last"
        run(database, f"{index}", {1: index / 10}, **options, training=TrainingSpec(selection=selection))
    names, cursor = [], None
    for _ in own:
        page = board(database, split=1, selected_on_test="flag", limit=1, cursor=cursor)
        names, cursor = [*names, page.rows[0].name], page.next_cursor
    assert (names, cursor) == (["3", "2", "1", "0"], None)


def test_without_honest_entries_none_is_ranked(database: Database) -> None:
    run(database, "chosen", {1: 0.9}, **models(database)[0], training=TrainingSpec(selection="test"))
    found = board(database, split=1)
    assert (found.rows, found.protocol, list(found.other_protocols.values())) == ((), None, [1])
    assert board(database, split=1, selected_on_test="flag").rows[0].selected_on_test


def test_seeds_are_averaged_within_a_split(database: Database) -> None:
    row = submit(database, small_spec(seeds=(0, 1))).row
    worker = Decreed(database)
    rates = {0: 0.4, 1: 0.6}

    def end(claim: Claim) -> None:
        seed = claim.params.get("seed") or 0
        worker.succeed(claim, results=[result("rgb", 1, seed, rates[seed])] if claim.kind == "fuse" else [])

    worker.run_all(end)
    (standing,) = board(database, split=1).rows
    assert standing.experiment_id == row.id
    assert (standing.value, standing.seeds) == (pytest.approx(0.5), 2)
    assert standing.spread == pytest.approx(0.1414, abs=1e-4)


def test_the_deviation_of_the_mean_is_that_of_the_seeds_own_means(database: Database) -> None:
    rates = {(1, 0): 0.2, (2, 0): 0.5, (3, 0): 0.8, (1, 1): 0.5, (2, 1): 0.8, (3, 1): 0.5}
    submit(database, small_spec(splits=(1, 2, 3), seeds=(0, 1)))
    worker = Decreed(database)

    def end(claim: Claim) -> None:
        place = claim.params.get("split"), claim.params.get("seed")
        worker.succeed(claim, results=[result("rgb", *place, rates[place])] if claim.kind == "fuse" else [])

    worker.run_all(end)
    (standing,) = board(database).rows
    assert standing.value == pytest.approx(0.55)
    assert standing.spread == pytest.approx(statistics.stdev([0.5, 0.6]))


def publish(database: Database, values: list[float | None], **options: Any) -> None:
    """Write mean rows without any work."""
    with database.transaction() as session:
        for value in values:
            published.publish(session, published.experiment(session), [published.mean(value)], **options)


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 100])
def test_pages_hold_every_entry_once_with_its_rank(database: Database, limit: int) -> None:
    publish(database, [0.5, 0.75, 0.5, None, 0.25, 0.5, None, 0.75])
    publish(database, [0.9], protocol="q")
    whole = board(database, protocol="p")
    assert [row.rank for row in whole.rows] == [1, 1, 3, 3, 3, 6]
    assert (whole.total, whole.total_incomplete, whole.next_cursor) == (6, 2, None)
    rows, incomplete, cursor, pages = [], [], None, 0
    while cursor is not None or not pages:
        page = board(database, protocol="p", limit=limit, cursor=cursor)
        assert (page.total, page.total_incomplete) == (6, 2)
        rows, incomplete, cursor, pages = (
            [*rows, *page.rows],
            [*incomplete, *page.incomplete],
            page.next_cursor,
            pages + 1,
        )
    assert tuple(rows) == whole.rows
    assert tuple(incomplete) == whole.incomplete
    assert pages == max(1, -(-6 // limit))


@pytest.mark.parametrize("limit", [1, 2, 100])
def test_where_lower_is_better_the_lowest_comes_first(
    database: Database, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    error = Metric("error", "Calibration error", higher_is_better=False)
    monkeypatch.setitem(METRICS, error.name, error)  # type: ignore[call-overload]
    with database.transaction() as session:
        for value in (0.5, 0.0, 0.25, 0.0, None, 0.75):
            published.publish(session, published.experiment(session), [published.mean(value, ["error"])])
    rows, cursor = [], None
    while cursor is not None or not rows:
        page = board(database, metric="error", limit=limit, cursor=cursor)
        rows, cursor = [*rows, *page.rows], page.next_cursor
    assert [(row.rank, row.value) for row in rows] == [(1, 0), (1, 0), (3, 0.25), (4, 0.5), (5, 0.75)]
    assert {(row.lower, row.upper) for row in rows} == {(None, None)}
    assert board(database).rows == ()  # nothing else was measured


@pytest.mark.parametrize("cursor", ["", "x", "0.5-1-0", "3fe0000000000000-1", "end", "end-end\n", "END-0"])
def test_a_cursor_that_is_none_is_refused(database: Database, cursor: str) -> None:
    publish(database, [0.5])
    with pytest.raises(InvalidRequest, match="cursor: got "):
        board(database, cursor=cursor)


def test_a_cursor_is_of_one_board_and_unchanged(database: Database) -> None:
    publish(database, [0.5, 0.25, None, None])
    cursor = board(database, limit=1).next_cursor
    assert cursor is not None
    assert [row.value for row in board(database, limit=1, cursor=cursor).rows] == [0.25]
    number = str(int(cursor.split("-")[3]) + 1)
    altered = "-".join([*cursor.split("-")[:3], number, *cursor.split("-")[4:]])
    for options in ({"cursor": altered}, {"metric": "top5"}, {"filters": Filters(seeds=2)}, {"vary": ["frames"]}):
        with pytest.raises(AlteredCursor, match=r"cursor: got .*, allowed: the `next_cursor` of the page before"):
            board(database, **({"cursor": cursor} | options))


def test_a_cursor_goes_on_with_its_protocol_and_revision_alone(database: Database) -> None:
    publish(database, [0.5, 0.25])
    publish(database, [0.75, 0.125], protocol="q")
    publish(database, [0.75, 0.125], revision=2)
    with database.transaction() as session:
        session.get_one(DatasetRow, "motion_shapes").revision = 2
    asked: dict[str, Any] = {"protocol": "p", "revision": 1}
    cursor = board(database, limit=1, **asked).next_cursor
    for same in ({}, asked, {"protocol": "p"}, {"revision": 1}):
        assert [row.value for row in board(database, cursor=cursor, **same).rows] == [0.25]
    for other in (asked | {"protocol": "q"}, asked | {"revision": 2}, {"protocol": "q"}, {"revision": 2}):
        with pytest.raises(AlteredCursor, match="for the same board"):
            board(database, cursor=cursor, **other)


def test_an_entry_that_arrives_between_pages_shows_none_twice_and_skips_none(database: Database) -> None:
    """Whatever its place; and though another protocol has the most entries by then."""
    publish(database, [0.9, 0.8, 0.7, 0.6, 0.5, None, None])
    before = board(database)
    seen, incomplete, cursor = [], [], None
    for arrived in (0.95, 0.8, 0.65, 0.1, 0.85):
        page = board(database, limit=1, cursor=cursor)
        seen, incomplete, cursor = [*seen, *page.rows], [*incomplete, *page.incomplete], page.next_cursor
        publish(database, [arrived, None])
        publish(database, [0.99] * 4, protocol="more")
        assert page.protocol == "p"
    while cursor is not None:
        page = board(database, limit=1, cursor=cursor)
        seen, incomplete, cursor = [*seen, *page.rows], [*incomplete, *page.incomplete], page.next_cursor
    ids = [row.experiment_id for row in (*seen, *incomplete)]
    assert len(ids) == len(set(ids))
    assert {row.experiment_id for row in (*before.rows, *before.incomplete)} <= set(ids)
    assert [row.value for row in seen] == sorted((row.value for row in seen), reverse=True)
    assert board(database).protocol == "more"


def test_revisions_are_never_mixed(database: Database) -> None:
    publish(database, [0.9, 0.8], revision=1)
    publish(database, [0.5], revision=2)
    with database.transaction() as session:
        session.get_one(DatasetRow, "motion_shapes").revision = 2
    found = board(database)
    assert ([row.value for row in found.rows], found.revision, found.superseded) == ([0.5], 2, False)
    assert found.other_revisions == {1: 2}
    older = board(database, revision=1)
    assert ([row.value for row in older.rows], older.superseded, older.other_revisions) == ([0.9, 0.8], True, {2: 1})
    with pytest.raises(NotFound, match="no revision of dataset motion_shapes named 3; hint: there are 1 to 2"):
        board(database, revision=3)


def test_two_streams_have_boards_of_their_own(database: Database) -> None:
    submit(database, small_spec(streams=("rgb", "flow")))
    worker = Decreed(database)
    worker.run_all(lambda claim: worker.succeed(claim, **decreed_summary(claim)))
    for stream in ("rgb", "flow", "two-stream"):
        assert len(board(database, stream=stream, split=1).rows) == 1


def test_a_failed_experiment_has_no_row_though_a_split_was_done(database: Database) -> None:
    submit(database, small_spec(splits=(1, 2)))
    worker = Decreed(database)
    worker.run_all(
        lambda claim: (
            worker.fail(claim, Cause.USER_ERROR)
            if claim.kind == "train" and claim.params["split"] == 1
            else worker.succeed(claim)
        )
    )
    assert board(database, split=2).rows == ()


def test_nothing_measured_gives_an_empty_board(database: Database) -> None:
    found = board(database)
    assert (found.rows, found.incomplete, found.protocol) == ((), (), None)


@pytest.mark.parametrize(("field", "value"), [("stream", "audio"), ("metric", "speed")])
def test_unknown_stream_or_metric(database: Database, field: str, value: str) -> None:
    with pytest.raises(InvalidRequest, match=f"{field}: got '{value}', allowed: "):
        board(database, **{field: value})
