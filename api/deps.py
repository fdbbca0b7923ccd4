"""What routes take: the stores, the caller's name, and values that Postgres can hold."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Annotated, Any

from anyio import CapacityLimiter
from fastapi import Depends, Header, Path, Query, Request
from markupsafe import Markup
from pydantic import StringConstraints

from api.answers import Alike, Answers, Briefly, Recent
from api.board import Entry, Format
from api.foresight import Foresight
from api.json_body import read_json_object, require_no_fields
from services.board.kept import Memory
from services.board.leaderboard import Standing
from services.db.engine import Database
from services.settings import Settings
from services.stores.broker import Broker
from services.texts import PRINTABLE

KEPT_RANKINGS = 64
"""Of some 150 kB each."""
KEPT_QUESTIONS = 1024
KEPT_ENTRIES = 2048
"""Of some 4 kB each."""
LIVE_SECONDS = 5.0
"""For how long one rendering of a page will do for all who watch it, if nothing happens."""


@dataclass(frozen=True)
class Backend:
    """The stores behind one application; ``app.state.backend`` while it runs.

    Attributes:
        probe: a connection for health checks, which wait for no other request.
        probes: how many of these ask at once.
        started_at: monotonic time at which the application began.
        boards: pages of the leaderboard that were asked for last, and where each one's next begins.
        asked: questions to the leaderboard, as they came, that were found sound.
        memory: entries of the boards that were asked for last.
        entries: the same as they are answered, each beside what it was made of.
        rankings: those that browsers asked for, as parts of a page.
        live: pages that are watched, or their parts, as those who watch them get them.
        foresight: when what waits starts, and what runs ends.
    """

    settings: Settings
    database: Database
    broker: Broker
    probe: Database
    probes: CapacityLimiter
    started_at: float = field(default_factory=time.monotonic)
    boards: Answers[tuple[bytes, str | None]] = field(default_factory=Answers)
    asked: Recent[tuple[str, Format]] = field(default_factory=lambda: Recent(KEPT_QUESTIONS))
    memory: Memory = field(default_factory=Memory)
    entries: Alike[Standing, Entry] = field(default_factory=lambda: Alike(KEPT_ENTRIES))
    rankings: Answers[Markup] = field(default_factory=lambda: Answers(KEPT_RANKINGS))
    live: Briefly[bytes] = field(default_factory=lambda: Briefly(LIVE_SECONDS))
    foresight: Foresight = field(default_factory=Foresight)

    @property
    def up_seconds(self) -> float:
        """Time since the application began."""
        return time.monotonic() - self.started_at


async def _backend(request: Request) -> Backend:
    backend: Backend = request.app.state.backend
    return backend


BackendDep = Annotated[Backend, Depends(_backend)]


async def _database(backend: BackendDep) -> Database:
    return backend.database


async def _broker(backend: BackendDep) -> Broker:
    return backend.broker


async def _foresight(backend: BackendDep) -> Foresight:
    return backend.foresight


async def _settings(backend: BackendDep) -> Settings:
    return backend.settings


DatabaseDep = Annotated[Database, Depends(_database)]
BrokerDep = Annotated[Broker, Depends(_broker)]
ForesightDep = Annotated[Foresight, Depends(_foresight)]
SettingsDep = Annotated[Settings, Depends(_settings)]


JsonBody = Annotated[dict[str, Any], Depends(read_json_object)]
"""A JSON object as it came, for models that are checked in the route. It is read after the caller is known."""
NoBody = Annotated[None, Depends(require_no_fields)]
"""For routes that write and take no fields: what would be ignored is refused."""

Printable = StringConstraints(min_length=1, max_length=200, pattern=PRINTABLE)

Id = Annotated[str, Printable, Path()]
Name = Annotated[str, Printable]
Limit = Annotated[int, Query(ge=1, le=200)]
IdempotencyKey = Annotated[str | None, Printable, Header(alias="Idempotency-Key")]
