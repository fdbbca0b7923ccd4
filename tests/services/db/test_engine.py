"""A server that hangs, a client that forgets, a pool that is empty: nothing waits without a limit."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
from sqlalchemy import event, text

from services.db import engine
from services.db.engine import Database
from services.errors import Contended, Unavailable

PATIENCE_SECONDS = 1.0
LATEST_SECONDS = 60.0
"""Far more than a call may take, also on a busy machine, and far less than without a limit."""


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url, pool_size=1, patience_seconds=PATIENCE_SECONDS)
    yield database
    database.close()


@pytest.fixture
def hung(database: Database) -> Iterator[Database]:
    """A database whose server process for the only pooled connection is held still."""
    with database.transaction() as session:
        pid = session.scalar(text("SELECT pg_backend_pid()"))
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    yield database
    os.kill(pid, signal.SIGCONT)


def test_a_server_that_hangs_is_given_up_and_the_next_connection_serves(
    hung: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "TRUSTED_SECONDS", 0.0)  # it has been idle for long
    began = time.monotonic()
    hung.ping()  # the pooled connection does not answer, a new one does
    assert PATIENCE_SECONDS <= time.monotonic() - began < LATEST_SECONDS


def test_a_connection_that_the_server_has_ended_is_replaced_without_a_word(
    database: Database, database_url: str
) -> None:
    with database.transaction() as session:
        pid = session.scalar(text("SELECT pg_backend_pid()"))
    with closing(Database(database_url)) as other, other.transaction() as rival:
        rival.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
    asked: list[str] = []
    event.listen(database.engine, "before_cursor_execute", lambda *call: asked.append(call[2]))
    database.ping()
    database.ping()
    assert asked == ["SELECT 1", "SELECT 1"]


def test_a_server_that_hangs_in_mid_transaction_is_unavailable(database: Database) -> None:
    with (
        pytest.raises(Unavailable, match=r"Postgres at .*: no answer within 1\.5 s"),
        database.transaction() as session,
    ):
        pid = session.scalar(text("SELECT pg_backend_pid()"))
        os.kill(pid, signal.SIGSTOP)
        try:
            session.execute(text("SELECT 1"))
        finally:
            os.kill(pid, signal.SIGCONT)
    database.ping()


@pytest.mark.parametrize(
    ("statement", "error", "words"),
    [
        ("SELECT pg_sleep(600)", Unavailable, "statement timeout"),
        ("LOCK TABLE stage IN EXCLUSIVE MODE", Contended, "lock timeout"),
    ],
)
def test_a_statement_and_a_wait_for_a_lock_end(
    database: Database, database_url: str, statement: str, error: type[Exception], words: str
) -> None:
    with closing(Database(database_url)) as other, other.transaction() as rival:
        rival.execute(text("LOCK TABLE stage IN EXCLUSIVE MODE"))
        with pytest.raises(error, match=words), database.transaction() as session:
            session.execute(text(statement))


def test_a_forgotten_transaction_is_ended_by_the_server(database: Database) -> None:
    with pytest.raises(Unavailable, match="idle-in-transaction"), database.transaction() as session:
        session.execute(text("SELECT 1"))
        time.sleep(2 * PATIENCE_SECONDS)  # what is tried is time itself
        session.execute(text("SELECT 1"))


def test_a_free_connection_is_not_waited_for_without_a_limit(database: Database) -> None:
    with (
        database.engine.connect(),
        database.engine.connect(),
        pytest.raises(Unavailable, match="no free connection in 1 s"),
        database.transaction() as session,
    ):
        session.execute(text("SELECT 1"))


def test_both_ends_notice_a_peer_that_is_gone(database: Database) -> None:
    with database.transaction() as session:
        limits = {name: session.scalar(text(f"SHOW {name}")) for name in ("tcp_keepalives_idle", "tcp_user_timeout")}
        connection = session.connection().connection.driver_connection
        assert connection is not None
        parameters = connection.info.get_parameters()
    assert limits == {"tcp_keepalives_idle": "10", "tcp_user_timeout": "1000"}
    assert {name: parameters[name] for name in limits if name in parameters} == {"tcp_user_timeout": "1000"}
    assert parameters["keepalives_idle"] == "10"


def test_work_that_met_a_rival_is_run_again_and_other_errors_are_not(database: Database) -> None:
    tries = []

    def contended(session: object) -> int:
        tries.append(session)
        if len(tries) < 3:
            raise Contended("rows came meanwhile")
        return len(tries)

    assert database.run(contended) == 3

    def wrong(session: object) -> None:
        tries.append(session)
        raise Unavailable("the store")

    with pytest.raises(Unavailable, match="the store"):
        database.run(wrong)
    assert len(tries) == 4
