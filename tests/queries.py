"""The statements that requests send to Postgres while a block lasts."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event

from services.db.engine import Database


@contextmanager
def queries_of(database: Database) -> Iterator[list[str]]:
    """Yield a list to which the statements are added as they are sent; those of the API's own loops are left out."""
    sent: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        if "AnyIO" in threading.current_thread().name:
            sent.append(statement)

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(database.engine, "before_cursor_execute", note)
