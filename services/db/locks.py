"""Advisory locks: of all processes on a database, one at a time does a job."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from services.db.engine import Database
from services.errors import Unavailable

IDLE_SECONDS = 60.0
"""A holder that is not heard of for so long loses its lock, unless it asks for longer: it may be frozen."""


class Hold:
    """An advisory lock of a session, or the knowledge that another process has it; true if it is ours."""

    def __init__(self, connection: Connection, ours: bool, address: str) -> None:
        self._connection, self._ours, self._address = connection, ours, address

    def __bool__(self) -> bool:
        return self._ours

    def keep(self) -> None:
        """Say that the holder is alive; to be called before it has been idle for too long.

        Raises:
            Unavailable: the lock is lost; stop, another process may have it.
        """
        try:
            self._connection.execute(text("SELECT 1"))
        except DBAPIError as error:
            self._ours = False
            raise Unavailable(f"Postgres at {self._address}: the lock of this job is lost") from error


@contextmanager
def held(database: Database, key: int, idle_seconds: float = IDLE_SECONDS) -> Iterator[Hold]:
    """Yield whether this process got a session's advisory lock; it goes with the connection if we die or freeze.

    Args:
        database: the lock is of this database.
        key: any fixed number that nothing else uses.
        idle_seconds: a holder that does not call ``keep`` for so long loses the lock.

    Raises:
        Unavailable: Postgres is away.
    """
    try:
        connection = database.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    except DBAPIError as error:
        raise Unavailable(f"Postgres at {database.address}: {error.orig}") from error
    with connection:
        try:
            yield _ask(connection, key, idle_seconds, database.address)
        finally:
            connection.invalidate()  # the pool would keep the lock, and the limit


def _ask(connection: Connection, key: int, idle_seconds: float, address: str) -> Hold:
    try:
        connection.execute(text(f"SET idle_session_timeout = {int(idle_seconds * 1000)}"))
        ours = bool(connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": key}))
    except DBAPIError as error:
        raise Unavailable(f"Postgres at {address}: {error.orig}") from error
    return Hold(connection, ours, address)
