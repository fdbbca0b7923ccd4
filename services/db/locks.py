"""Advisory locks: of all processes on a database, one at a time does a job."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import text

from services.db.engine import Database


@contextmanager
def held(database: Database, key: int) -> Iterator[bool]:
    """Yield whether this process got a session's advisory lock; it goes with the connection if we die."""
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        ours = bool(connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": key}))
        try:
            yield ours
        finally:
            if ours:
                connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": key})
