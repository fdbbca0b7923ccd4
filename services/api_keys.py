"""Who may do what: callers, and the keys that name them, shown once and kept as a SHA-256 only."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from services.db.tables import ApiKeyRow
from services.errors import Conflict, Forbidden, InvalidRequest


@dataclass(frozen=True)
class Caller:
    """Who asks: what a caller submits carries this name; an administrator may also end and retry everyone else's."""

    name: str
    administrator: bool = False

    def require_owned(self, what: str, owner: str) -> None:
        """Refuse to touch what somebody else owns.

        Raises:
            Forbidden: the caller is neither ``owner`` nor an administrator.
        """
        if not self.administrator and self.name != owner:
            raise Forbidden(f"{what} belongs to {owner!r}: only its owner or the administrator may do this")


ADMINISTRATOR = Caller("administrator", administrator=True)
"""Who sends the administrator's token."""
LOCAL = Caller("local", administrator=True)
"""Everyone, where no token is set, which only loopback allows."""


def issue(session: Session, owner: str) -> str:
    """Return a new key of ``owner``.

    Raises:
        InvalidRequest: the name is one of ours.
        Conflict: the owner has a key already.
    """
    if owner in (ADMINISTRATOR.name, LOCAL.name):
        raise InvalidRequest("owner", owner, f"any name but {ADMINISTRATOR.name} and {LOCAL.name}")
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
