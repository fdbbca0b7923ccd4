"""The version of a dataset's boards: another one as soon as any of them shows something else."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, select, text
from sqlalchemy.orm import Session

from services.db.tables import ProtocolRow
from services.errors import NotFound, nearest

VERSION = text("""
SELECT version FROM dataset LEFT JOIN board_version ON board_version.dataset = dataset.name WHERE name = :dataset
""")


def version(session: Session | Connection, dataset: str) -> str | None:
    """Return the version of a dataset's boards; None where there is no such dataset.

    It is read before what it is the version of: what comes in between makes the next version, and is there already.
    """
    row = session.execute(VERSION, {"dataset": dataset}).one_or_none()
    return None if row is None else str(row.version)


def require_measured(session: Session, line: str, here: Collection[str]) -> None:
    """Refuse a protocol by which nothing was ever measured.

    Args:
        session: a transaction of the caller.
        line: of the protocol.
        here: lines of the board, of which the nearest are named.

    Raises:
        NotFound: nothing was measured by it, on whatever board.
    """
    if session.scalar(select(ProtocolRow.line).where(ProtocolRow.line == line).limit(1)) is None:
        raise NotFound("protocol", line, nearest(line, here) if here else "nothing was measured here yet")
