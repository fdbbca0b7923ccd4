"""The API as a process of its own, as `twostream up` starts it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cli.stack import ports
from cli.stack.api import Api
from services.db.engine import Database
from tests.parts import running


@contextmanager
def api_process(folder: Path, database: Database, redis_url: str, **settings: str) -> Iterator[Api]:
    """Run an API on loopback, with more settings, while the block lasts."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TWOSTREAM_")}
    settings |= {
        "TWOSTREAM_DATABASE_URL": database.engine.url.render_as_string(hide_password=False),
        "TWOSTREAM_REDIS_URL": redis_url,
        "TWOSTREAM_HOME": str(folder / "home"),
    }
    with ports.listen(ports.LOOPBACK, 0) as listener:
        part = Api(listener, clean | settings, folder / f"api-{ports.port_of(listener)}.log")
        with running(part):
            yield part
