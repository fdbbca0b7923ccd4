"""What routes take: the stores, the caller's name, and values that Postgres can hold."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Annotated, Any

from anyio import CapacityLimiter
from fastapi import Depends, Header, Path, Query, Request
from pydantic import StringConstraints

from api.answers import Answers
from api.json_body import read_json_object, require_no_fields
from services.db.engine import Database
from services.settings import Settings
from services.stores.broker import Broker


@dataclass(frozen=True)
class Backend:
    """The stores behind one application; ``app.state.backend`` while it runs.

    Attributes:
        probe: a connection for health checks, which wait for no other request.
        probes: how many of these ask at once.
        started_at: monotonic time at which the application began.
        boards: pages of the leaderboard that were asked for last, and where each one's next begins.
    """

    settings: Settings
    database: Database
    broker: Broker
    probe: Database
    probes: CapacityLimiter
    started_at: float = field(default_factory=time.monotonic)
    boards: Answers[tuple[bytes, str | None]] = field(default_factory=Answers)

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


async def _settings(backend: BackendDep) -> Settings:
    return backend.settings


DatabaseDep = Annotated[Database, Depends(_database)]
BrokerDep = Annotated[Broker, Depends(_broker)]
SettingsDep = Annotated[Settings, Depends(_settings)]


JsonBody = Annotated[dict[str, Any], Depends(read_json_object)]
"""A JSON object as it came, for models that are checked in the route. It is read after the caller is known."""
NoBody = Annotated[None, Depends(require_no_fields)]
"""For routes that write and take no fields: what would be ignored is refused."""

Printable = StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")
"""No control characters: Postgres holds no NUL, and names are printed."""

Id = Annotated[str, Printable, Path()]
Name = Annotated[str, Printable]
Limit = Annotated[int, Query(ge=1, le=200)]
IdempotencyKey = Annotated[str | None, Printable, Header(alias="Idempotency-Key")]
