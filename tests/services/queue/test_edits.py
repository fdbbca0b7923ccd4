"""Name, tags, note, archive, withdrawal: who may change them, that nothing is lost, and what boards make of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from services.api_keys import ADMINISTRATOR, Caller
from services.board import leaderboard
from services.board.leaderboard import Board
from services.board.version import version
from services.db.engine import Database, Session
from services.db.tables import EventRow, ExperimentRow, OutboxRow, ResultRow
from services.errors import Conflict, Forbidden, InvalidRequest, NotFound
from services.queue import edits, experiments
from services.queue.edits import Edit
from tests.services.conftest import Decreed, small_spec, submit

ANA, BEN, ROOT = Caller("ana"), Caller("ben"), Caller("root", administrator=True)


@pytest.fixture
def made(database: Database) -> str:
    return submit(database, small_spec(), owner="ana").row.id


def edit(database: Database, id_: str, caller: Caller = ANA, **wanted: Any) -> ExperimentRow:
    return database.run(lambda session: edits.edit(session, id_, Edit(**wanted), caller))


def board_of(database: Database) -> Board:
    with database.transaction() as session:
        return leaderboard.rank(session, dataset="motion_shapes", split=1, stream="rgb")


def version_of(database: Database) -> str | None:
    with database.transaction() as session:
        return version(session, "motion_shapes")


def told(database: Database, id_: str) -> list[str]:
    with database.transaction() as session:
        rows = session.query(EventRow)
        return [row.type for row in rows.filter_by(experiment_id=id_).order_by(EventRow.id)]


def test_tags_that_come_and_go_at_once_are_all_kept(database: Database, made: str) -> None:
    edit(database, made, add=["old"])
    threads = [threading.Thread(target=edit, args=(database, made), kwargs={"add": [f"t{n}"]}) for n in range(6)]
    threads.append(threading.Thread(target=edit, args=(database, made), kwargs={"remove": ["old"]}))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.transaction() as session:
        row = experiments.get(session, made)
        assert row.tags == [f"t{n}" for n in range(6)]
        assert row.edits == 8


def test_what_is_so_already_is_no_edit(database: Database, made: str) -> None:
    wanted = {"name": "other", "note": "two\nlines", "archived": True, "add": ["a"]}
    first = edit(database, made, **wanted)
    again = edit(database, made, **wanted, remove=["never"])
    assert (first.edits, again.edits, again.archived_at) == (1, 1, first.archived_at)
    assert told(database, made) == ["experiment.queued", "experiment.edited"]
    row = edit(database, made, note="", archived=False, remove=["a"])
    assert (row.note, row.archived_at, row.tags, row.edits) == ("", None, [], 2)


def test_a_note_that_was_rewritten_meanwhile_is_not_overwritten(database: Database, made: str) -> None:
    edit(database, made, note="mine", edits=0)
    with pytest.raises(Conflict, match="edits is 1, not 0"):
        edit(database, made, note="theirs", edits=0)
    assert edit(database, made, note="theirs", edits=1).note == "theirs"


def test_tags_are_bounded(database: Database, made: str) -> None:
    edit(database, made, add=[f"t{n}" for n in range(edits.MOST_TAGS)])
    with pytest.raises(InvalidRequest, match=r"tags.add: got .*'more'.*, allowed: 50 tags at the most; it has 50"):
        edit(database, made, add=["more"])
    assert len(edit(database, made, add=["more"], remove=["t0"]).tags) == edits.MOST_TAGS


@pytest.mark.parametrize(
    "change",
    [
        lambda session, id_, caller: edits.edit(session, id_, Edit(add=["x"]), caller),
        lambda session, id_, caller: edits.withdraw(session, id_, "wrong", caller),
        edits.reinstate,
    ],
)
def test_the_owner_and_the_administrator_may(
    database: Database, made: str, change: Callable[[Session, str, Caller], ExperimentRow]
) -> None:
    with pytest.raises(Forbidden, match="belongs to 'ana'"):
        database.run(lambda session: change(session, made, BEN))
    for caller in (ANA, ADMINISTRATOR):
        assert database.run(lambda session, caller=caller: change(session, made, caller)).id == made  # type: ignore[misc]
    with pytest.raises(NotFound):
        database.run(lambda session: change(session, "exp_nothing", ANA))


def test_boards_show_the_new_name_under_a_new_version(database: Database, made: str) -> None:
    Decreed(database).run_all()
    before = version_of(database)
    edit(database, made, add=["x"], note="n", archived=True)
    assert version_of(database) == before, "boards show nothing of that"
    edit(database, made, name="renamed")
    assert version_of(database) != before
    assert [row.name for row in board_of(database).rows] == ["renamed"]


def test_mlflow_hears_of_name_tags_and_note(database: Database, made: str) -> None:
    edit(database, made, name="renamed", note="why", add=["b", "a"])
    with database.transaction() as session:
        row = session.query(OutboxRow).filter_by(experiment_id=made, kind="status").one()
        assert row.data["own_tags"] == {"mlflow.runName": "renamed", "mlflow.note.content": "why"}
        assert row.data["tags"] == {"name": "renamed", "tags": "a, b", "note": "why", "archived": "False"}


def test_a_withdrawn_experiment_stands_below_the_board_with_its_reason(database: Database, made: str) -> None:
    Decreed(database).run_all()
    other = submit(database, small_spec(name="other", seeds=(1,))).row.id
    Decreed(database).run_all()
    whole, before = board_of(database), version_of(database)
    database.run(lambda session: edits.withdraw(session, made, "leaked labels", ANA))
    board = board_of(database)
    assert [row.experiment_id for row in board.rows] == [other]
    assert [(gone.experiment_id, gone.reason, gone.by, gone.value) for gone in board.withdrawn] == [
        (made, "leaked labels", "ana", 0.5)
    ]
    second = version_of(database)
    assert second != before
    database.run(lambda session: edits.withdraw(session, made, "wrong lists", ANA))
    third = version_of(database)
    assert third != second
    database.run(lambda session: edits.withdraw(session, made, "wrong lists", ANA))
    assert version_of(database) == third, "nothing has changed"
    assert board_of(database).withdrawn[0].reason == "wrong lists"
    database.run(lambda session: edits.reinstate(session, made, ANA))
    assert board_of(database) == whole
    assert version_of(database) != third
    assert told(database, made)[-3:] == ["experiment.withdrawn", "experiment.withdrawn", "experiment.reinstated"]


def test_what_was_withdrawn_last_is_named_first(database: Database, made: str) -> None:
    other = submit(database, small_spec(name="other", seeds=(1,))).row.id
    Decreed(database).run_all()
    for id_ in (made, other):
        database.run(lambda session, id_=id_: edits.withdraw(session, id_, "leaked labels", ROOT))
    assert [gone.experiment_id for gone in board_of(database).withdrawn] == [other, made]


def test_the_only_entry_that_was_withdrawn_is_named_too(database: Database, made: str) -> None:
    Decreed(database).run_all()
    database.run(lambda session: edits.withdraw(session, made, "leaked labels", ANA))
    board = board_of(database)
    assert (board.rows, board.total, [gone.name for gone in board.withdrawn]) == ((), 0, ["small"])
    with database.transaction() as session:
        mean = leaderboard.rank(session, dataset="motion_shapes", stream="rgb")
    assert (mean.incomplete, mean.total_incomplete) == ((), 0)
    assert [gone.value for gone in mean.withdrawn] == [None]


def test_what_ends_after_its_withdrawal_is_not_ranked(database: Database, made: str) -> None:
    database.run(lambda session: edits.withdraw(session, made, "a typo in the spec", ANA))
    Decreed(database).run_all()
    assert board_of(database).rows == ()
    with database.transaction() as session:
        assert {row.withdrawn for row in session.query(ResultRow)} == {True}
    database.run(lambda session: edits.reinstate(session, made, ANA))
    assert [row.value for row in board_of(database).rows] == [0.5]
