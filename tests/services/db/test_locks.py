"""Advisory locks end with their holder, also when it only freezes."""

from __future__ import annotations

from contextlib import closing

import pytest
from sqlalchemy import text

from services.db.engine import Database
from services.db.locks import held
from services.errors import Unavailable

KEY = 42


def test_one_holds_it_and_gives_it_up_at_the_end(database_url: str) -> None:
    with closing(Database(database_url)) as database:
        with held(database, KEY) as first, held(database, KEY) as second:
            assert (bool(first), bool(second)) == (True, False)
            first.keep()
        with held(database, KEY) as third:
            assert third


def test_a_holder_that_freezes_loses_it_and_hears_of_it(database_url: str) -> None:
    with closing(Database(database_url)) as database, closing(Database(database_url)) as other:
        with held(database, KEY, idle_seconds=0.5) as frozen:
            assert frozen
            while True:
                with held(other, KEY) as ours, other.transaction() as session:
                    if ours:
                        break
                    session.execute(text("SELECT pg_sleep(0.1)"))
            with pytest.raises(Unavailable, match="the lock of this job is lost"):
                frozen.keep()
            assert not frozen
        database.ping()


def test_a_server_that_is_away_is_unavailable() -> None:
    database = Database("postgresql+psycopg://u:secret@127.0.0.1:1/none")
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1"), held(database, KEY):
        pass
