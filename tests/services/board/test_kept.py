"""Boards of which a process keeps what has not changed: equal to those made from scratch, whatever happens."""

from __future__ import annotations

from contextlib import ExitStack
from random import Random
from typing import Any

import numpy as np
import pytest
from sqlalchemy import event, select

from services.board import kept, leaderboard, results, withdrawal
from services.board.entries import Filters
from services.board.hits import Hits
from services.board.kept import Memory
from services.board.leaderboard import Board
from services.board.means import Row, Value
from services.db.engine import Database, Session
from services.db.tables import BoardChangeRow, ExperimentRow, ExperimentStreamRow, ProtocolRow, ResultRow
from services.revisions import Revision

CLIPS = 200
PROTOCOLS = ("a" * 64, "b" * 64)
BOARDS: list[dict[str, Any]] = [
    {"split": 1, "limit": 3},
    {"split": 1, "limit": 100},
    {"limit": 2},
    {"split": 1, "limit": 5, "filters": Filters(model="odd")},
    {"split": 1, "protocol": "line b", "limit": 4},
    {"split": 1, "vary": ("frames",), "limit": 100},
]


class Runs:
    """Experiments that come, change, are withdrawn and go."""

    def __init__(self, database: Database, seed: int) -> None:
        self.database, self.random, self.draw = database, Random(seed), np.random.default_rng(seed)
        self.ids: list[str] = []
        self.made = 0
        with database.transaction() as session:
            for digest in PROTOCOLS:
                row = ProtocolRow(digest=digest, fields={"frames": digest[0], "x": 1}, line=f"line {digest[0]}")
                session.add(row)

    def step(self) -> None:
        """Do one thing, in one transaction."""
        choices = [self.arrive, self.arrive, self.rewrite, self.flag, self.withdraw, self.show, self.delete]
        with self.database.transaction() as session:
            self.random.choice(choices if len(self.ids) > 5 else [self.arrive])(session)

    def arrive(self, session: Session) -> None:
        self.made += 1
        row = ExperimentRow(id=f"exp_{self.made:04x}", name=f"n{self.made}", owner="o", dataset="motion_shapes")
        row.spec, row.body_digest, row.state = {"model": {"kind": "m"}}, "", "succeeded"
        session.add(row)
        session.flush()
        model = ("odd", "even")[self.made % 2]
        protocol = PROTOCOLS[self.random.random() < 0.3]
        session.add(ExperimentStreamRow(experiment_id=row.id, stream="rgb", protocol=protocol, model=model))
        session.flush()
        self.ids.append(row.id)
        self._write(session, row)

    def rewrite(self, session: Session) -> None:
        self._write(session, self._any(session))

    def flag(self, session: Session) -> None:
        row = self._any(session)
        row.flags = [*row.flags, {"code": f"c{len(row.flags)}"}]

    def withdraw(self, session: Session) -> None:
        row = self._any(session)
        row.withdrawn_at, row.withdrawn_by, row.withdrawn_reason = row.created_at, "o", "why"
        session.flush()
        withdrawal.hide(session, row.id)

    def show(self, session: Session) -> None:
        row = self._any(session)
        row.withdrawn_at = row.withdrawn_by = row.withdrawn_reason = None
        session.flush()
        withdrawal.show(session, row.id)

    def delete(self, session: Session) -> None:
        row = self._any(session)
        self.ids.remove(row.id)
        session.delete(row)

    def _any(self, session: Session) -> ExperimentRow:
        return session.get_one(ExperimentRow, self.random.choice(self.ids))

    def _write(self, session: Session, row: ExperimentRow) -> None:
        measurement = session.get_one(ExperimentStreamRow, (row.id, "rgb"))
        revision = Revision(1, (1, 2, 3), 0, ())
        splits = {split: self._row(split) for split in (1, None)}
        results.write(session, row, measurement, revision, list(splits.values()))

    def _row(self, split: int | None) -> Row:
        seeds = self.random.choice((1, 1, 1, 2))
        level = self.random.randrange(20) / 20
        right = self.draw.random((seeds, CLIPS)) < level
        hits = {1: Hits("t", seeds, np.packbits(right, axis=1).tobytes())}
        known = {} if self.random.random() < 0.1 else hits
        return Row(split, seeds=seeds, values={"top1": Value(level)}, clips=CLIPS, hits=known)


def pages(session: Session, memory: Memory | None, options: dict[str, Any]) -> list[Board]:
    """Return the first pages of a board."""
    found: list[Board] = []
    cursor = None
    while len(found) < 3:
        board = leaderboard.rank(
            session, dataset="motion_shapes", stream="rgb", cursor=cursor, memory=memory, **options
        )
        found.append(board)
        cursor = board.next_cursor
        if cursor is None:
            break
    return found


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.long)])
def test_boards_of_which_the_rest_is_kept_are_those_made_from_scratch(
    database: Database, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leaderboard, "SECTION", 8)
    monkeypatch.setattr(kept, "MOST_ENTRIES", 25)
    runs, always, seldom = Runs(database, seed), Memory(), Memory()
    for number in range(40):
        runs.step()
        for memory in (always, seldom) if number % 9 == 0 else (always,):
            with database.snapshot() as session:
                for options in runs.random.sample(BOARDS, 2):
                    assert pages(session, memory, options) == pages(session, None, options), (number, options)


def test_an_older_transaction_reads_for_itself_what_it_sees(database: Database) -> None:
    runs, memory = Runs(database, 0), Memory()
    for _ in range(10):
        runs.step()
    with ExitStack() as stack:
        old = stack.enter_context(database.snapshot())
        before = pages(old, None, BOARDS[0])
        for _ in range(5):
            runs.step()
        with database.snapshot() as new:
            after = pages(new, memory, BOARDS[0])
        assert pages(old, memory, BOARDS[0]) == before != after
    with database.snapshot() as session:
        assert pages(session, memory, BOARDS[0]) == after


def test_what_is_kept_is_not_read_again(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    runs, memory = Runs(database, 0), Memory()
    for _ in range(10):
        runs.step()
    asked: list[Any] = []
    for name in ("complete", "hits"):
        own = getattr(leaderboard.Entries, name)
        monkeypatch.setattr(
            leaderboard.Entries,
            name,
            lambda self, ids, *rest, own=own: asked.append(list(ids)) or own(self, ids, *rest),
        )
    with database.snapshot() as session:
        pages(session, memory, BOARDS[1])
    del asked[:]
    with database.transaction() as session:
        runs.arrive(session)
    with database.snapshot() as session:
        board = pages(session, memory, BOARDS[1])[0]
    assert [len(ids) for ids in asked] == ([1, 1] if runs.ids[-1] in {row.experiment_id for row in board.rows} else [0])


def read(database: Database, memory: Memory, **options: Any) -> list[tuple[str, Any]]:
    """Return the statements by which a board is read."""
    asked: list[tuple[str, Any]] = []
    with database.snapshot() as session:
        session.connection()
        listener = lambda *call: asked.append((call[2], call[3]))  # noqa: E731 - to be removed again
        event.listen(database.engine, "before_cursor_execute", listener)
        leaderboard.rank(session, dataset="motion_shapes", memory=memory, **options)
        event.remove(database.engine, "before_cursor_execute", listener)
    return asked


def test_what_arrives_is_counted_alone(database: Database) -> None:
    runs, memory = Runs(database, 0), Memory()
    with database.transaction() as session:
        for _ in range(5):
            runs.arrive(session)
    board = {"stream": "rgb", "split": 1}
    [first] = [values for query, values in read(database, memory, **board) if "int8send" in query]
    assert "ids" not in first
    with database.transaction() as session:
        runs.arrive(session)
    with database.transaction() as session:
        new = set(session.scalars(select(ResultRow.id).where(ResultRow.experiment_id == runs.ids[-1])))
    [then] = [values for query, values in read(database, memory, **board) if "int8send" in query]
    assert set(then["ids"]) == new


def test_a_board_of_which_nothing_has_changed_is_not_read(database: Database) -> None:
    runs, memory = Runs(database, 0), Memory()
    with database.transaction() as session:
        runs.arrive(session)
    assert len(read(database, memory, stream="flow")) > 1
    with database.transaction() as session:
        runs.arrive(session)
    [(query, _)] = read(database, memory, stream="flow")
    assert "board_change" in query


def test_what_is_known_of_changes_goes_with_the_experiment(database: Database) -> None:
    runs = Runs(database, 0)
    with database.transaction() as session:
        runs.arrive(session)
        runs.arrive(session)
    with database.transaction() as session:
        assert {row.number for row in session.query(BoardChangeRow)} == {1}
        runs.delete(session)
    with database.transaction() as session:
        assert [row.experiment_id for row in session.query(BoardChangeRow)] == runs.ids
