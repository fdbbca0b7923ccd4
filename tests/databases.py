"""The database that tests use one after the other: emptied in between, which costs a twentieth of making a new one."""

from __future__ import annotations

import time
from collections.abc import Callable
from copy import copy
from functools import cache

import psycopg
from sqlalchemy import text

from services.db.engine import Database
from services.sweeps.study import SCHEMA

NAME = "test"
MANY_USES = 100
"""Then a new one is made: what was deleted stays in the files, since nothing vacuums here."""
MANY_ROWS = 5000
"""Likewise."""
CATALOGUES = (
    *("pg_class", "pg_attribute", "pg_attrdef", "pg_constraint", "pg_index", "pg_trigger", "pg_proc", "pg_type"),
    *("pg_namespace", "pg_rewrite", "pg_statistic", "pg_db_role_setting"),
)
LOOK = " UNION ALL ".join(f"SELECT count(*), sum(xmin::text::bigint) FROM {name}" for name in CATALOGUES)
"""What tells of every change of the tables, as of each statistic of them: which transactions wrote the catalogues."""
ALONE = """
SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""
WAITERS = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()")
PATIENCE_SECONDS = 120
WITHOUT_STUDIES = f"""
DO $$
DECLARE
    each text;
BEGIN
    FOR each IN
        SELECT 'TABLE ' || oid::regclass FROM pg_class
        WHERE relkind = 'r' AND relnamespace = to_regnamespace('{SCHEMA}')
        UNION ALL
        SELECT 'TYPE ' || oid::regtype FROM pg_type
        WHERE typtype = 'e' AND typnamespace = to_regnamespace('{SCHEMA}')
    LOOP
        EXECUTE format('DROP %s CASCADE', each);
    END LOOP;
END $$
"""
"""Optuna makes its tables when a first sweep begins."""
EMPTY = """
DO $$
DECLARE
    each regclass;
    gone bigint;
    total bigint := 0;
BEGIN
    SET LOCAL session_replication_role = replica;  -- neither triggers nor foreign keys
    FOR each IN
        SELECT oid FROM pg_class
        WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname <> 'alembic_version'
    LOOP
        EXECUTE format('DELETE FROM %s', each);
        GET DIAGNOSTICS gone = ROW_COUNT;
        total := total + gone;
    END LOOP;
    PERFORM setval(seqrelid::regclass, seqstart, false) FROM pg_sequence;
    PERFORM set_config('test.gone', total::text, false);
END $$
"""


class Reused:
    """A migrated database for one test at a time.

    Args:
        server: address of the server's maintenance database, as libpq takes it.
        template: name of a database that has the tables, and no rows.
    """

    def __init__(self, server: str, template: str) -> None:
        self._server, self._template = server, template
        self._uses = 0
        self._made: list[tuple[int, int]] | None = None

    @property
    def _address(self) -> str:
        return f"{self._server.rpartition('/')[0]}/{NAME}"

    def lend(self) -> None:
        """Make the database, unless it is there and empty."""
        if self._made is None:
            with psycopg.connect(self._server, autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE {NAME} TEMPLATE {self._template} STRATEGY file_copy")
            with psycopg.connect(self._address, autocommit=True) as connection:
                self._made, self._uses = connection.execute(LOOK).fetchall(), 0
        self._uses += 1

    def take_back(self) -> None:
        """End what still asks it, and empty it; drop it if its tables were changed or its files have grown."""
        with psycopg.connect(self._address, autocommit=True) as connection:
            connection.execute(ALONE)
            connection.execute(WITHOUT_STUDIES)
            clean = self._uses < MANY_USES and connection.execute(LOOK).fetchall() == self._made
            if clean:
                connection.execute(EMPTY)
                [gone] = connection.execute("SELECT current_setting('test.gone')::bigint").fetchone() or (0,)
                clean = gone < MANY_ROWS
        if not clean:
            self._made = None
            with psycopg.connect(self._server, autocommit=True) as connection:
                connection.execute(f"DROP DATABASE {NAME} WITH (FORCE)")


def opened(url: str, *options: float) -> Database:
    """Return a database as ``Database(url, *options)`` does, whose engine knows the statements of earlier tests.

    A new engine asks the server what it is, and compiles each statement anew, for longer than most tests take. What a
    test has the engine listen to ends with the test; so do the connections, as whoever opens a database closes it.
    """
    database = copy(kept := _kept(url, *options))
    database.engine = kept.engine.execution_options()
    database._glancing = database.engine.execution_options(isolation_level="AUTOCOMMIT")
    return database


def waiters(database: Database) -> int:
    """Return how many transactions wait for a lock.

    Each look is a transaction of its own: within one, PostgreSQL shows what others did at its first look.
    """
    with database.transaction() as session:
        return session.scalar(WAITERS) or 0


def wait_for_waiters(database: Database, count: int = 1, *, going: Callable[[], bool] = lambda: True) -> None:
    """Wait until as many transactions wait for a lock, while those that shall are still `going`."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while waiters(database) < count:
        assert going(), "it ended, and never waited for a lock"
        assert time.monotonic() < deadline, "nothing waits for a lock"
        time.sleep(0.01)


@cache
def _kept(url: str, *options: float) -> Database:
    return Database(url, *options)  # type: ignore[arg-type]
