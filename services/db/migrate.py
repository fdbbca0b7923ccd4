"""Brings a database to this code's tables; several processes may try at once."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from services.db.engine import Database
from services.errors import InvalidSettings, Unavailable
from services.settings import load

ADVISORY_LOCK = 7_205_759_403_792_794
"""Held while migrations run; any fixed number that nothing else uses."""

log = logging.getLogger(__name__)


def upgrade(database_url: str, revision: str = "head") -> None:
    """Run the migrations that are missing, under an advisory lock.

    Raises:
        Unavailable: Postgres is away; the message names its address.
    """
    _run(database_url, revision, down=False)


def downgrade(database_url: str, revision: str = "base") -> None:
    """Undo migrations down to a revision; ``base`` removes every table."""
    _run(database_url, revision, down=True)


def configuration(connection: Connection) -> Config:
    """Return Alembic's configuration for an open connection."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config


def _run(database_url: str, revision: str, *, down: bool) -> None:
    engine = create_engine(database_url, poolclass=NullPool, connect_args={"connect_timeout": 5})
    try:
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
            run = command.downgrade if down else command.upgrade
            run(configuration(connection), revision)
    except OperationalError as error:
        reason = str(error.orig).strip().splitlines()[0]
        raise Unavailable(f"Postgres at {Database(database_url).address}: {reason}") from error
    log.info("database migrated", extra={"revision": revision})


def main() -> None:
    """Migrate the database that ``TWOSTREAM_DATABASE_URL`` names: `python -m services.db.migrate`."""
    try:
        settings = load()
        if settings.database_url is None:
            sys.exit("TWOSTREAM_DATABASE_URL: not set")
        upgrade(settings.database_url)
    except (InvalidSettings, Unavailable) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
