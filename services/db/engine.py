"""Connections and transactions; the door that opens a transaction commits it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.orm import Session

from services.errors import Unavailable


class Database:
    """One pool of connections to Postgres.

    Args:
        url: ``postgresql+psycopg://user@host:port/name``.
        pool_size: connections kept open; as many again may be opened under load.
    """

    def __init__(self, url: str, pool_size: int = 10) -> None:
        self.address = make_url(url).render_as_string(hide_password=True)
        self.engine = create_engine(
            url,
            pool_pre_ping=True,
            pool_use_lifo=True,  # the connection used last has its statements prepared and its catalogue at hand
            pool_size=pool_size,
            max_overflow=pool_size,
            connect_args={"connect_timeout": 5},
        )

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Yield a session whose changes are committed at the end, or rolled back on an error.

        Raises:
            Unavailable: the server is away; the message names its address.
        """
        try:
            with Session(self.engine, expire_on_commit=False) as session, session.begin():
                yield session
        except (OperationalError, InterfaceError) as error:
            raise Unavailable(f"Postgres at {self.address}: {_first_line(error)}") from error

    def ping(self) -> None:
        """Ask the server for an answer, or raise ``Unavailable``."""
        with self.transaction() as session:
            session.execute(text("SELECT 1"))

    def close(self) -> None:
        """Close every connection of the pool."""
        self.engine.dispose()


def _first_line(error: Exception) -> str:
    cause = getattr(error, "orig", None) or error
    return str(cause).strip().splitlines()[0]
