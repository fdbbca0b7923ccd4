"""Connections and transactions; the door that opens a transaction commits it.

Nothing here waits without a limit. The server ends a statement, a wait for a lock and a transaction that its client has
forgotten; the client gives up on a server that does not answer at all, which no server-side limit can help with.
"""

from __future__ import annotations

import logging
import math
import random
import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from sqlalchemy import Connection, create_engine, event, make_url, text
from sqlalchemy.exc import DBAPIError, DisconnectionError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolExhausted
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry

from services.errors import Contended, Unavailable

__all__ = ["Database", "Session"]

PATIENCE_SECONDS = 10.0
"""How long one answer of Postgres may take, unless the settings say otherwise."""
FIRST_PAUSE_SECONDS = 0.02
LONGEST_PAUSE_SECONDS = 0.5
"""Longest pause before a transaction is tried again: doubled each time, and drawn at random so that two rivals part."""
TRUSTED_SECONDS = 5.0
"""After its last answer, in which a connection whose socket is sound is taken for a living one."""
USED_AT = "used_at"
CONTENDED = frozenset({"40P01", "40001", "55P03"})
"""SQLSTATEs: deadlock detected, could not serialize, lock not available."""

T = TypeVar("T")
log = logging.getLogger(__name__)


class PatientConnection(psycopg.Connection[Any]):
    """A connection whose every wait for the server ends.

    Attributes:
        patience_seconds: after this the connection is closed, and the call raises ``OperationalError``.
    """

    patience_seconds: float = PATIENCE_SECONDS

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        """Wait for an answer, at the most ``patience_seconds``; every statement, commit and rollback comes here."""
        try:
            return super().wait(gen, interval, timeout or self.patience_seconds)
        except psycopg.errors._WaitTimeout as error:  # psycopg has no public name for it
            self.pgconn.finish()  # what the server may still send belongs to nobody
            raise psycopg.OperationalError(f"no answer within {self.patience_seconds:g} s") from error


class Database:
    """One pool of connections to Postgres.

    Args:
        url: ``postgresql+psycopg://user@host:port/name``.
        pool_size: connections kept open; as many again may be opened under load.
        patience_seconds: how long one answer may take, a free connection may be waited for, and a transaction may lie
            idle; a wait for a lock ends after half of it.
    """

    def __init__(self, url: str, pool_size: int = 10, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self.address = make_url(url).render_as_string(hide_password=True)
        self._patience_seconds = patience_seconds
        self.engine = create_engine(
            url,
            pool_use_lifo=True,  # the connection used last has its statements prepared and its catalogue at hand
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_timeout=patience_seconds,
        )
        self._glancing = self.engine.execution_options(isolation_level="AUTOCOMMIT")
        event.listen(self.engine, "do_connect", self._connect)
        event.listen(self.engine, "checkout", self._require_living)
        event.listen(self.engine, "checkin", _note_use)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Yield a session whose changes are committed at the end, or rolled back on an error; for reading, mostly.

        Raises:
            Unavailable: the server is away, or does not answer in time; the message names its address.
            Contended: another transaction was in the way. `run` tries again.
        """
        try:
            with Session(self.engine, expire_on_commit=False) as session, session.begin():
                yield session
        except (DBAPIError, PoolExhausted) as error:
            raise self._foreseen(error) or error from error

    @contextmanager
    def snapshot(self) -> Iterator[Session]:
        """Yield a session that sees one state of the database from its first statement to its end; for reading.

        Raises:
            Unavailable: as of `transaction`.
        """
        with self.transaction() as session:
            session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            yield session

    @contextmanager
    def glance(self) -> Iterator[Connection]:
        """Yield a connection on which each statement is a transaction: one round trip, for a single read.

        Raises:
            Unavailable: as of `transaction`.
        """
        try:
            with self._glancing.connect() as connection:
                yield connection
        except (DBAPIError, PoolExhausted) as error:
            raise self._foreseen(error) or error from error

    def run(self, work: Callable[[Session], T]) -> T:
        """Run a transaction, again when another one was in its way, and return what ``work`` returns.

        The last try begins when the time for one answer is over.

        Args:
            work: what to do with the session; it may be called several times, and touches nothing else.

        Raises:
            Contended: others were in the way each time.
            Unavailable: the server is away, or does not answer in time.
        """
        pause, last_begins = FIRST_PAUSE_SECONDS, time.monotonic() + self._patience_seconds
        while True:
            last = time.monotonic() >= last_begins
            try:
                with self.transaction() as session:
                    return work(session)
            except Contended as error:
                if last:
                    raise
                log.info("a transaction is tried again: %s", error)
            time.sleep(random.uniform(0, pause))  # noqa: S311 - two rivals need different pauses, not secrets
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def connection(self, schema: str) -> psycopg.Connection[Any]:
        """Open a connection of its own, with the limits of all, for a library that has tables in another schema."""
        arguments, options = self.engine.dialect.create_connect_args(self.engine.url)
        connection = self._connect(None, None, arguments, dict(options))
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('search_path', %s, false)", (schema,))
        connection.commit()
        return connection

    def ping(self) -> None:
        """Ask the server for an answer, or raise ``Unavailable``."""
        with self.transaction() as session:
            session.execute(text("SELECT 1"))

    def close(self) -> None:
        """Close every connection of the pool."""
        self.engine.dispose()

    def _connect(self, _dialect: Any, _record: Any, arguments: Any, options: dict[str, Any]) -> psycopg.Connection[Any]:
        """Open a connection in UTC with limits on both ends.

        Those of the server are set there, so that any pooler passes.
        """
        milliseconds = int(self._patience_seconds * 1000)
        patience: dict[str, Any] = {
            "connect_timeout": max(2, round(min(self._patience_seconds, 5))),  # libpq takes no less than 2
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": milliseconds,
        }
        connection = PatientConnection.connect(*arguments, **(patience | options))
        connection.patience_seconds = self._patience_seconds * 1.5  # the server's own limits come first, and say more
        settings = {
            "TimeZone": "UTC",  # else times come in the server's own zone, and answers print them as they came
            "statement_timeout": milliseconds,
            "lock_timeout": milliseconds // 2,
            "idle_in_transaction_session_timeout": milliseconds,
            "tcp_keepalives_idle": 10,
            "tcp_user_timeout": milliseconds,
        }
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT " + ", ".join(f"set_config('{name}', '{value}', false)" for name, value in settings.items())
            )
        connection.commit()
        return connection

    def _require_living(self, connection: psycopg.Connection[Any], record: ConnectionPoolEntry, _proxy: Any) -> None:
        """Have the pool open another connection in place of one that has ended, or hangs.

        A server says nothing to a client that asks nothing, but that it ends: a look at the socket sees that. Who
        answered a moment ago is not asked again, since a round trip is a quarter of what a short transaction costs.
        """
        try:
            if connection.closed or _has_word(connection):
                raise DisconnectionError("the server has ended the connection")
            if time.monotonic() - record.info.get(USED_AT, -math.inf) > TRUSTED_SECONDS:
                self.engine.dialect.do_ping(connection)  # type: ignore[arg-type]
        except psycopg.Error as error:
            raise DisconnectionError(str(error)) from error

    def _foreseen(self, error: DBAPIError | PoolExhausted) -> Unavailable | None:
        """Return what an error means to a caller, or None for a mistake of ours."""
        if isinstance(error, PoolExhausted):
            return Unavailable(f"Postgres at {self.address}: no free connection in {self._patience_seconds:g} s")
        message = f"Postgres at {self.address}: {_first_line(error)}"
        if getattr(error.orig, "sqlstate", None) in CONTENDED:
            return Contended(message)
        if isinstance(error, OperationalError | InterfaceError) or error.connection_invalidated:
            return Unavailable(message)
        return None


def _has_word(connection: psycopg.Connection[Any]) -> bool:
    """Say whether something is to be read that nobody has asked for, or the socket has failed."""
    look = select.poll()
    look.register(connection.fileno(), select.POLLIN)
    return bool(look.poll(0))


def _note_use(_connection: Any, record: ConnectionPoolEntry) -> None:
    record.info[USED_AT] = time.monotonic()


def _first_line(error: Exception) -> str:
    cause = getattr(error, "orig", None) or error
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0]
