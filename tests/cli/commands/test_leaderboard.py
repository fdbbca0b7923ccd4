"""The ranking."""

from __future__ import annotations

import json
import shlex

from services.db.tables import DatasetRow
from tests import published


def test_a_cut_listing_says_what_it_leaves_out_and_how_to_go_on(twostream, database):
    publish(database, "cut", [0.5, 0.75, None, 0.25, None])
    code, out, _ = twostream("leaderboard", "--dataset", "cut", "--stream", "rgb", "--limit", "2")
    assert code == 0
    last = out.splitlines()[-1]
    assert last.startswith("4 of 5 entries; more: twostream leaderboard --dataset cut --split mean --stream rgb ")
    seen = json.loads(twostream("leaderboard", "--dataset", "cut", "--stream", "rgb", "--limit", "2", "--json")[1])
    following = json.loads(twostream(*shlex.split(last.partition("more: twostream ")[2]), "--json")[1])
    assert [row["value"] for row in (*seen["rows"], *following["rows"])] == [0.75, 0.5, 0.25]
    assert [row["rank"] for row in following["rows"]] == [3]
    whole = twostream("leaderboard", "--dataset", "cut", "--stream", "rgb")[1]
    assert "more: " not in whole


def publish(database, dataset, values, **columns):
    """Write a dataset and mean rows of experiments on it, without any work."""
    with database.transaction() as session:
        if session.get(DatasetRow, dataset) is None:
            session.add(DatasetRow(name=dataset))
            session.flush()
        for value in values:
            published.publish(session, published.experiment(session, dataset), [published.mean(value)], **columns)


def test_an_older_revision_is_shown_as_such(twostream, database):
    publish(database, "old", [0.5], revision=1, excluded=3)
    publish(database, "old", [0.25], revision=2)
    with database.transaction() as session:
        session.get_one(DatasetRow, "old").revision = 2
    out = twostream("leaderboard", "--dataset", "old", "--stream", "rgb")[1]
    assert "old, revision 2: top1" in out
    assert "on other lists or clips: 1 entry, --revision 1" in out
    assert "50.00 %" not in out
    out = twostream("leaderboard", "--dataset", "old", "--stream", "rgb", "--revision", "1")[1]
    assert "old, revision 1, superseded: it has other lists or clips now: top1" in out
    assert "the dataset leaves 3 listed clips out" in out
    board = json.loads(twostream("leaderboard", "--dataset", "old", "--stream", "rgb", "--revision", "1", "--json")[1])
    (row,) = board["rows"]
    assert (board["superseded"], row["excluded"]) == (True, 3)
    out = twostream("results", row["experiment_id"])[1]
    assert "revision 1 of the dataset, 3 listed clips left out, superseded: " in out


def test_an_empty_leaderboard_says_so(twostream):
    code, out, _ = twostream("leaderboard")
    assert (code, out) == (0, "motion_shapes: top1, split mean, two-stream: no results yet\n")
    assert twostream("leaderboard", "--split", "4")[0] == 2


def test_published_rows_stand_below_the_board(twostream, database):
    publish(database, "ucf101", [0.5])
    out = twostream("leaderboard", "--dataset", "ucf101", "--stream", "rgb", "--published")[1]
    board, apart, below = out.partition("published, by the papers' own protocols, not ranked")
    assert "50.00 %" in board
    assert apart
    assert len(below.strip().splitlines()) == 1 + 4
    assert "published" not in twostream("leaderboard", "--dataset", "ucf101", "--stream", "rgb")[1]
