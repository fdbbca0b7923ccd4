"""`tag`, `note`, `rename`, `archive`, `withdraw` and `delete` against a real API."""

import io
import json
import sys

import pytest

from services.board.means import Row, Value
from services.db.tables import ExperimentRow
from tests import published


def test_an_experiment_is_tagged_noted_renamed_and_shown_so(twostream, submitted):
    assert twostream("tag", submitted) == (0, f"{submitted}  no tags\n", "")
    assert twostream("tag", submitted, "b", "a") == (0, f"{submitted}  a, b\n", "")
    assert twostream("tag", submitted, "c", "--remove", "a", "--remove", "b") == (0, f"{submitted}  c\n", "")
    assert twostream("note", submitted, "first\nsecond") == (0, "first\nsecond\n", "")
    assert twostream("note", submitted) == (0, "first\nsecond\n", "")
    assert twostream("rename", submitted, f"named {submitted}") == (0, f"{submitted}  named {submitted}\n", "")
    out = twostream("show", f"named {submitted}")[1]
    assert "tags     c\nnote     first\n         second\n" in out
    found = json.loads(twostream("note", submitted, "", "--json")[1])
    assert (found["note"], found["tags"]) == ("", ["c"])
    assert twostream("note", submitted) == (0, "no note\n", "")
    code, _, err = twostream("tag", submitted, "a b")
    assert (code, "tags.add.0: got 'a b', allowed: " in err) == (2, True)


def test_a_note_comes_from_standard_input_too(twostream, submitted, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("a\nb\n"))
    assert twostream("note", submitted, "-") == (0, "a\nb\n", "")


def test_lists_are_searched_by_words_and_tags_and_keep_archived_ones_apart(twostream, submitted):
    twostream("tag", submitted, f"tag-{submitted}", "keep")
    assert submitted in twostream("list", "--tag", f"tag-{submitted}", "--tag", "keep")[1]
    assert submitted in twostream("list", "--search", f"small tag {submitted[4:]}")[1]
    assert twostream("archive", submitted) == (0, f"{submitted}  archived\n", "")
    assert submitted not in twostream("list")[1]
    found = json.loads(twostream("list", "--archived", "--tag", "keep", "--json")[1])
    assert submitted in [each["id"] for each in found["items"]]
    assert twostream("show", submitted[:-1])[0] == 0, "it is found by the beginning of its id"
    assert twostream("archive", submitted, "--undo") == (0, f"{submitted}  not archived\n", "")


def test_the_next_page_is_asked_for_with_every_option(twostream, spec):
    ids = [twostream("submit", spec)[1].strip() for _ in range(2)]
    for id_ in ids:
        twostream("tag", id_, "x", "y")
        twostream("archive", id_)
    out = twostream("list", "--archived", "--tag", "x", "--tag", "y", "--search", "small", "--limit", "1")[1]
    assert "more: twostream list --search small --tag x --tag y --archived --limit 1 --cursor " in out


def test_a_withdrawn_experiment_stands_below_the_board(twostream, submitted, database):
    with database.transaction() as session:
        rows = [Row(split=1, values={"top1": Value(0.5)})]
        published.publish(session, session.get_one(ExperimentRow, submitted), rows, protocol=submitted)
    board = ("leaderboard", "--dataset", "motion_shapes", "--split", "1", "--stream", "rgb", "--protocol", submitted)
    assert "50.00" in twostream(*board)[1]
    assert twostream("withdraw", submitted)[0] == 2
    assert twostream("withdraw", submitted, "reason", "--undo")[0] == 2
    assert twostream("withdraw", submitted, "wrong lists") == (0, f"{submitted}  withdrawn\n", "")
    assert f"({submitted}): wrong lists" in twostream(*board)[1]
    assert "wrong lists" in twostream("show", submitted)[1]
    assert twostream("withdraw", submitted, "--undo") == (0, f"{submitted}  ranked again\n", "")
    assert "50.00" in twostream(*board)[1]


def test_deleting_asks_and_says_what_is_in_the_way(twostream, submitted):
    code, _, err = twostream("delete", submitted)
    assert (code, "--yes" in err) == (2, True)
    code, _, err = twostream("delete", submitted, "--yes")
    assert (code, "hint: cancel it first" in err) == (4, True)
    twostream("cancel", submitted)
    assert twostream("delete", submitted, "--yes") == (0, f"{submitted}  deleted\n", "")
    code, _, err = twostream("show", submitted)
    assert code == 3
    assert "was deleted by local" in err
    assert twostream("delete", submitted, "--yes", "--json")[0] == 3


@pytest.mark.parametrize(("typed", "code"), [("n\n", 1), ("y\n", 0)])
def test_deleting_is_confirmed_on_a_terminal(twostream, submitted, monkeypatch, typed, code):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    twostream("cancel", submitted)
    monkeypatch.setattr(sys, "stdin", Terminal(typed))
    assert twostream("delete", submitted)[0] == code
