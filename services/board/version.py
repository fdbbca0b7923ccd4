"""The version of a dataset's boards: another one as soon as any of them shows something else."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.orm import Session

VERSION = text("""
SELECT version FROM dataset LEFT JOIN board_version ON board_version.dataset = dataset.name WHERE name = :dataset
""")


def version(session: Session, dataset: str) -> str | None:
    """Return the version of a dataset's boards; None where there is no such dataset.

    It is read before what it is the version of: what comes in between makes the next version, and is there already.
    """
    row = session.execute(VERSION, {"dataset": dataset}).one_or_none()
    return None if row is None else str(row.version)
