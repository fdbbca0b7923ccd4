from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.orm import Session

from services import api_keys, registry
from services.db.migrate import downgrade, upgrade
from services.db.tables import Base
from services.errors import Unavailable


def differences(url: str) -> list[object]:
    engine = create_engine(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        found = list(compare_metadata(context, Base.metadata))
    engine.dispose()
    return found


def tables(url: str) -> set[str]:
    engine = create_engine(url)
    names = set(inspect(engine).get_table_names())
    engine.dispose()
    return names


def test_up_down_up_leaves_no_difference(empty_database: Callable[[], str]) -> None:
    url = empty_database()
    upgrade(url)
    assert differences(url) == []
    downgrade(url)
    assert tables(url) == {"alembic_version"}
    upgrade(url)
    assert differences(url) == []


def test_processes_that_start_together_migrate_once(empty_database: Callable[[], str]) -> None:
    url = empty_database()
    threads = [threading.Thread(target=upgrade, args=(url,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert differences(url) == []


def test_a_server_that_is_away_is_named() -> None:
    with pytest.raises(Unavailable, match=r"Postgres at postgresql\+psycopg://u:\*\*\*@127\.0\.0\.1:1/none"):
        upgrade("postgresql+psycopg://u:secret@127.0.0.1:1/none")


def test_going_down_keeps_evicted_stages_as_ones_to_run_again(empty_database: Callable[[], str]) -> None:
    url = empty_database()
    upgrade(url)
    engine = create_engine(url)
    insert = "INSERT INTO stage (key, kind, params, label, queue, state, owner, timeout_seconds)"
    with engine.begin() as connection:
        connection.execute(text(f"{insert} VALUES ('k', 'flow', '{{}}', 'flow', 'cpu', 'evicted', 'local', 1)"))
    downgrade(url, "0001")
    with engine.begin() as connection:
        assert connection.scalar(text("SELECT state FROM stage")) == "cancelled"
    engine.dispose()


def test_keys_and_datasets_of_before_go_on(empty_database: Callable[[], str]) -> None:
    url = empty_database()
    upgrade(url)
    downgrade(url, "0003")
    engine = create_engine(url)
    with engine.begin() as connection:
        digest = hashlib.sha256(b"ts_old").hexdigest()
        connection.execute(text("INSERT INTO api_key (owner, digest) VALUES ('ana', :digest)"), {"digest": digest})
        connection.execute(text("INSERT INTO dataset (name, root) VALUES ('old', '/clips')"))
    upgrade(url)
    with Session(engine) as session, session.begin():
        found = api_keys.find(session, "ts_old")
        assert found is not None
        assert (found.state, found.caller.name, found.caller.administrator) == ("valid", "ana", False)
        assert found.caller.scopes == {"read", "submit", "datasets"}
        assert registry.get(session, "old").owner == "administrator"
        api_keys.issue(session, "eve", ["read"])
    downgrade(url, "0003")
    with engine.begin() as connection:
        assert connection.scalar(text("SELECT string_agg(owner, ',') FROM api_key")) == "ana"
    engine.dispose()
