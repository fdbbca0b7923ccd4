"""Periodic work of which the fleet needs one at a time: whoever comes first after a period does it.

There is no lock that a process could keep: one that stops in the middle costs the fleet a single period.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from services.db.tables import ChoreRow

TAKE = text("""
INSERT INTO chore (name) VALUES (:name)
ON CONFLICT (name) DO UPDATE SET began_at = clock_timestamp()
WHERE chore.began_at < clock_timestamp() - make_interval(secs => :every_seconds)
    OR chore.began_at > clock_timestamp()  -- the clock of the database was set back
RETURNING name
""")

DONE = text("""
INSERT INTO chore (name, succeeded_at) VALUES (:name, clock_timestamp())
ON CONFLICT (name) DO UPDATE SET succeeded_at = clock_timestamp()
""")


def take(session: Session, name: str, every_seconds: float) -> bool:
    """Return whether it is this process's turn: nobody has begun the work within the last ``every_seconds``."""
    return session.scalar(TAKE, {"name": name, "every_seconds": every_seconds}) is not None


def done(session: Session, name: str) -> None:
    """Write that the work was done just now."""
    session.execute(DONE, {"name": name})


def progress(session: Session, name: str) -> dict[str, Any] | None:
    """Return how far work is that takes many turns, as it was noted last; None before it began."""
    return session.scalar(select(ChoreRow.progress).where(ChoreRow.name == name))


def note(session: Session, name: str, found: Mapping[str, Any]) -> None:
    """Write how far work is that takes many turns."""
    session.execute(insert(ChoreRow).values(name=name).on_conflict_do_nothing())
    session.execute(update(ChoreRow).where(ChoreRow.name == name).values(progress=dict(found)))


def age_seconds(session: Session, name: str) -> float | None:
    """Return how long ago the work was done last, by anyone, or None if it never was."""
    age = func.extract("epoch", func.clock_timestamp() - ChoreRow.succeeded_at)
    found: float | None = session.scalar(select(age).where(ChoreRow.name == name))
    return None if found is None else max(0.0, float(found))
