"""Who may submit: keys are shown once and kept as a SHA-256 only."""

from __future__ import annotations

import hashlib
import secrets

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from services.db.tables import ApiKeyRow
from services.errors import Conflict


def issue(session: Session, owner: str) -> str:
    """Return a new key of ``owner``, or raise ``Conflict`` where there is one."""
    key = f"ts_{secrets.token_urlsafe(32)}"
    query = insert(ApiKeyRow).values(owner=owner, digest=_digest(key)).on_conflict_do_nothing()
    if session.scalar(query.returning(ApiKeyRow.owner)) is None:
        raise Conflict(f"{owner!r} has a key already")
    return key


def owner_of(session: Session, key: str) -> str | None:
    """Return whose key it is, or None."""
    return session.scalar(select(ApiKeyRow.owner).where(ApiKeyRow.digest == _digest(key)))


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
