"""The database of the tests: what one leaves, no other finds."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from services import registry
from services.db.engine import Database
from tests.databases import Reused


@pytest.fixture
def address(reused: Reused, database_url: str) -> Iterator[str]:
    return database_url.replace("+psycopg", "", 1)


def oid(address: str) -> int:
    with psycopg.connect(address) as connection:
        found: tuple[int] = connection.execute(
            "SELECT oid::bigint FROM pg_database WHERE datname = current_database()"
        ).fetchone()  # type: ignore[assignment]
        return found[0]


def test_rows_numbers_and_sessions_are_gone_and_the_database_is_the_same(reused, address, database_url) -> None:
    before = oid(address)
    first = []
    for _ in range(2):
        database = Database(database_url)
        with database.transaction() as session:
            registry.add_generated(session)
        left = psycopg.connect(address)
        left.execute("LOCK TABLE dataset")
        with psycopg.connect(address) as connection:
            first.append(connection.execute("SELECT nextval('event_id_seq')").fetchone())
        database.close()
        reused.take_back()
        with pytest.raises(psycopg.OperationalError):
            left.execute("SELECT 1")
        left.close()
        reused.lend()
        with psycopg.connect(address) as connection:
            assert connection.execute("SELECT count(*) FROM dataset").fetchone() == (0,)
            assert connection.execute("SELECT count(*) FROM alembic_version").fetchone() == (1,)
    assert first == [(1,), (1,)]
    assert oid(address) == before


@pytest.mark.parametrize(
    "change",
    [
        "DROP TABLE result_value CASCADE",
        "ALTER TABLE dataset ALTER COLUMN name TYPE varchar(900)",
        "ALTER TABLE dataset DISABLE TRIGGER ALL",
        "CREATE SCHEMA another",
        "ALTER DATABASE test SET work_mem = '1MB'",
        "INSERT INTO dataset (name) VALUES ('a'); ANALYZE dataset",
        "INSERT INTO tracker_folder SELECT number::text, '' FROM generate_series(1, 6000) AS number",
    ],
)
def test_one_whose_tables_were_changed_or_have_grown_is_made_anew(reused, address, change) -> None:
    before = oid(address)
    with psycopg.connect(address) as connection:
        connection.execute(change)
    reused.take_back()
    reused.lend()
    assert oid(address) != before
