"""Sends notices that wait: each is taken for a while, sent outside any transaction, and written down as told or not.

Who dies in between is followed by another one after that while: a notice may come twice, with the same id.
"""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Mapping
from typing import Any, Protocol

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from services import chores
from services.db.engine import Database
from services.journal import events
from services.notify.command import Command
from services.notify.webhook import Undelivered, Webhook
from services.settings import Settings

POLL_SECONDS = 2.0
HOLD_SECONDS = 120
"""How long a notice is left to who took it: longer than any channel takes."""
FIRST_PAUSE_SECONDS, LAST_PAUSE_SECONDS = 10.0, 3600.0
MOST_TRIES = 12
"""Some five hours, with the pauses in between."""
BATCH = 50
"""Notices of one turn."""
LEFT_MINUTES = 10
"""After so long a notice is dropped that nobody is to be told of; what an API that was away is to send, is sent."""
KEPT_DAYS = 30
TIDY, TIDY_SECONDS = "notices", 60.0
"""Name and period of the chore."""

TAKE = text("""
UPDATE notice SET tries = tries + 1, next_at = clock_timestamp() + make_interval(secs => :hold)
WHERE id = (
    SELECT id FROM notice
    WHERE next_at <= clock_timestamp() AND channel = ANY(CAST(:channels AS text[]))
        AND kind = ANY(CAST(:kinds AS text[]))
    ORDER BY next_at LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING id, channel, kind, experiment_id, data, created_at, tries
""")
TOLD = text("""
UPDATE notice SET delivered_at = clock_timestamp(), next_at = NULL, error = NULL WHERE id = :id AND tries = :tries
""")
FAILED = text("""
UPDATE notice SET error = :error,
    next_at = CASE WHEN tries < :most THEN clock_timestamp() + make_interval(secs => :pause) END
WHERE id = :id AND tries = :tries RETURNING next_at IS NULL AS given_up
""")
DROP = text("""
UPDATE notice SET next_at = NULL, error = 'nobody is to be told'
WHERE next_at IS NOT NULL AND tries = 0 AND created_at < clock_timestamp() - make_interval(mins => :minutes)
    AND NOT (channel = ANY(CAST(:channels AS text[])) AND kind = ANY(CAST(:kinds AS text[])))
""")
FORGET = text("""
DELETE FROM notice WHERE next_at IS NULL AND created_at < clock_timestamp() - make_interval(days => :days)
""")

log = logging.getLogger(__name__)


class Channel(Protocol):
    """Tells users, or raises ``Undelivered``."""

    def send(self, id_: str, body: bytes) -> None:
        """Send a notice."""


class Notifier:
    """Sends by some channels.

    Args:
        database: where notices wait.
        channels: by their names.
        kinds: of notices that are sent.
        address: of the API, for links.
        first_pause_seconds: before a notice is tried again; doubled each time, up to a limit.
    """

    def __init__(
        self,
        database: Database,
        channels: Mapping[str, Channel],
        kinds: tuple[str, ...],
        address: str,
        first_pause_seconds: float = FIRST_PAUSE_SECONDS,
    ) -> None:
        self._database, self._channels, self._address = database, channels, address
        self._kinds, self._first_pause_seconds = kinds, first_pause_seconds

    @property
    def _own(self) -> dict[str, list[str]]:
        """What of all notices is sent here."""
        return {"channels": list(self._channels), "kinds": list(self._kinds)}

    def turn(self) -> None:
        """Send what is due, and tidy up now and then."""
        self._database.run(self._tidy)
        for _ in range(BATCH):
            row = self._database.run(self._take) if self._channels else None
            if row is None:
                return
            self._send(row)

    def _take(self, session: Session) -> Row[Any] | None:
        return session.execute(TAKE, {**self._own, "hold": HOLD_SECONDS}).one_or_none()

    def _send(self, row: Row[Any]) -> None:
        own = {"id": row.id, "tries": row.tries}
        try:
            self._channels[row.channel].send(str(row.id), body_of(row, self._address))
        except Undelivered as error:
            reason = str(error)
            log.warning("%s was not told of %s (try %d): %s", row.channel, row.experiment_id, row.tries, reason)
            self._database.run(lambda session: self._failed(session, row, reason))
        else:
            self._database.run(lambda session: session.execute(TOLD, own))

    def _failed(self, session: Session, row: Row[Any], reason: str) -> None:
        pause = min(self._first_pause_seconds * 2.0 ** (row.tries - 1), LAST_PAUSE_SECONDS)
        values = {"pause": pause * random.uniform(0.75, 1), "most": MOST_TRIES, "error": reason}  # noqa: S311
        given_up = session.scalar(FAILED, values | {"id": row.id, "tries": row.tries})
        if given_up:
            said = {"channel": row.channel, "notice": row.kind, "experiment": row.experiment_id, "error": reason}
            events.tell(session, "notice.given_up", **said)

    def _tidy(self, session: Session) -> None:
        if chores.take(session, TIDY, TIDY_SECONDS):
            session.execute(DROP, {**self._own, "minutes": LEFT_MINUTES})
            session.execute(FORGET, {"days": KEPT_DAYS})
            chores.done(session, TIDY)


def body_of(row: Row[Any], address: str) -> bytes:
    """Return a notice as JSON."""
    page = f"{address}/experiments/{row.experiment_id}"
    notice = {"id": str(row.id), "kind": row.kind, "created_at": row.created_at.isoformat(), "url": page, **row.data}
    return json.dumps(notice).encode()


def notifier(settings: Settings, database: Database) -> Notifier:
    """Return what sends by the channels of the settings."""
    channels: dict[str, Channel] = {}
    if settings.webhook_url is not None and settings.webhook_secret is not None:
        url, secret = settings.webhook_url.get_secret_value(), settings.webhook_secret.get_secret_value()
        channels["webhook"] = Webhook(url, secret, networks=settings.webhook_networks)
    if settings.notify_command:
        channels["command"] = Command(settings.notify_command)
    return Notifier(database, channels, settings.notify_on, settings.api_address)
