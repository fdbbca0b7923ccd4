"""Who may do what: callers, and the keys that name them, shown once and kept as a SHA-256 only."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, get_args

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from services.db.tables import ApiKeyRow
from services.errors import Conflict, Forbidden, InvalidRequest, NotFound

Scope = Literal["read", "submit", "datasets", "administrator"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
"""Look at everything; submit experiments, cancel and retry one's own; register datasets and replace one's own; all."""
BY_DEFAULT: tuple[Scope, ...] = ("read", "submit")
KeyState = Literal["valid", "expired", "revoked"]


@dataclass(frozen=True)
class Caller:
    """Who asks: what a caller submits carries this name; an administrator may also change what is everyone else's."""

    name: str
    administrator: bool = False
    scopes: frozenset[str] = frozenset()

    def require(self, scope: Scope) -> None:
        """Refuse what the caller's key does not allow.

        Raises:
            Forbidden: the key lacks the scope.
        """
        if not self.administrator and scope not in self.scopes:
            held = ", ".join(sorted(self.scopes)) or "none"
            raise Forbidden(f"the key of {self.name!r} has the scopes: {held}; this needs: {scope}")

    def require_owned(self, what: str, owner: str) -> None:
        """Refuse to touch what another user owns.

        Raises:
            Forbidden: the caller is neither ``owner`` nor an administrator.
        """
        if not self.administrator and self.name != owner:
            raise Forbidden(f"{what} belongs to {owner!r}: only its owner or the administrator may do this")


ADMINISTRATOR = Caller("administrator", administrator=True)
"""Who sends the administrator's token."""
LOCAL = Caller("local", administrator=True)
"""Everyone, where no token is set, which only loopback allows."""


@dataclass(frozen=True)
class Found:
    """The key that a caller sent, and whether it still opens anything."""

    caller: Caller
    state: KeyState


def issue(
    session: Session, owner: str, scopes: Collection[Scope] = BY_DEFAULT, days: float | None = None
) -> tuple[ApiKeyRow, str]:
    """Make the key of an owner; return its row, and the key itself, which only its hash remembers.

    Args:
        session: a transaction of the caller.
        owner: whose experiments and datasets the key's will be.
        scopes: what it allows.
        days: after which it expires; None for never.

    Raises:
        InvalidRequest: the name is one of ours.
        Conflict: the owner has a valid key.
    """
    if owner in (ADMINISTRATOR.name, LOCAL.name):
        raise InvalidRequest("owner", owner, f"any name but {ADMINISTRATOR.name} and {LOCAL.name}")
    key, lifetime = _new_key(), None if days is None else timedelta(days=days)
    values = {"digest": _digest(key), "scopes": sorted(scopes), "revoked_at": None} | _begun(lifetime)
    over = ApiKeyRow.revoked_at.is_not(None) | (ApiKeyRow.expires_at <= func.now())
    query = insert(ApiKeyRow).values(owner=owner, **values)
    query = query.on_conflict_do_update(index_elements=["owner"], set_=values, where=over)
    row = session.scalar(query.returning(ApiKeyRow).execution_options(populate_existing=True))
    if row is None:
        raise Conflict(f"{owner!r} has a valid key already; hint: rotate it, or revoke it")
    return row, key


def rotate(session: Session, owner: str) -> tuple[ApiKeyRow, str]:
    """Give an owner another key with the same scopes and lifetime; the one before opens nothing any more.

    Raises:
        NotFound: the owner has no key.
        Conflict: it was revoked.
    """
    row = _locked(session, owner)
    if row.revoked_at is not None:
        raise Conflict(f"the key of {owner!r} was revoked; hint: issue another")
    key, lifetime = _new_key(), None if row.expires_at is None else row.expires_at - row.created_at
    query = update(ApiKeyRow).where(ApiKeyRow.owner == owner).values(digest=_digest(key), **_begun(lifetime))
    return session.scalars(query.returning(ApiKeyRow).execution_options(populate_existing=True)).one(), key


def revoke(session: Session, owner: str) -> ApiKeyRow:
    """End an owner's key, now and for good; what it submitted stays.

    Raises:
        NotFound: the owner has no key.
    """
    row = _locked(session, owner)
    row.revoked_at = row.revoked_at or datetime.now(UTC)
    return row


def listing(session: Session) -> list[ApiKeyRow]:
    """Return all keys by owner, also those that open nothing any more."""
    return list(session.scalars(select(ApiKeyRow).order_by(ApiKeyRow.owner)))


def find(session: Session, key: str) -> Found | None:
    """Return whose key it is and whether it is valid; None where nobody has it."""
    row = session.scalar(select(ApiKeyRow).where(ApiKeyRow.digest == _digest(key)))
    if row is None:
        return None
    scopes = frozenset(row.scopes)
    return Found(Caller(row.owner, "administrator" in scopes, scopes), state_of(row))


def state_of(row: ApiKeyRow) -> KeyState:
    """Say whether a key opens anything."""
    if row.revoked_at is not None:
        return "revoked"
    return "expired" if row.expires_at is not None and row.expires_at <= datetime.now(UTC) else "valid"


def _locked(session: Session, owner: str) -> ApiKeyRow:
    row = session.get(ApiKeyRow, owner, with_for_update=True)
    if row is None:
        raise NotFound("key", owner, "twostream key list names the owners")
    return row


def _begun(lifetime: timedelta | None) -> dict[str, Any]:
    return {"created_at": func.now(), "expires_at": None if lifetime is None else func.now() + lifetime}


def _new_key() -> str:
    return f"ts_{secrets.token_urlsafe(32)}"


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
