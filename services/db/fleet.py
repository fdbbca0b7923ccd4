"""The tables of who works and who may: workers, what the fleet does by the clock, users' keys and quotas."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ARRAY, CheckConstraint, String, func, text
from sqlalchemy.orm import Mapped, mapped_column

from services.db.base import Base, Json, one_of

WORKER_STATES = ("alive", "draining", "stopped", "lost")


class ApiKeyRow(Base):
    """Who may do what, one key an owner; the key itself is kept as a SHA-256 only."""

    __tablename__ = "api_key"

    owner: Mapped[str] = mapped_column(String(100), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    scopes: Mapped[list[str]] = mapped_column(ARRAY(String(20)), server_default=text("'{read,submit}'"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class WorkerRow(Base):
    """A Celery worker process that reports for work; ``use`` is what its host did when it was last seen."""

    __tablename__ = "worker"

    id: Mapped[str] = mapped_column(String(60), primary_key=True)
    host: Mapped[str] = mapped_column(String(200))
    pid: Mapped[int]
    queues: Mapped[list[str]] = mapped_column(ARRAY(String(20)))
    devices: Mapped[list[str]] = mapped_column(ARRAY(String(20)))
    concurrency: Mapped[int]
    state: Mapped[str] = mapped_column(String(20), server_default="alive")
    message: Mapped[str | None]
    use: Mapped[Json | None]
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    last_seen_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (CheckConstraint(one_of("state", WORKER_STATES), name="state"),)


class QuotaRow(Base):
    """What an owner may run at once, as the setting of the API that started last says; None is no limit of their own.

    The row of owner ``*`` is for what others do not say. Of two owners who wait, the one gets the next slot who runs
    fewer stages by ``share``.
    """

    __tablename__ = "quota"

    owner: Mapped[str] = mapped_column(String(100), primary_key=True)
    stages: Mapped[int | None]
    gpus: Mapped[int | None]
    share: Mapped[float | None]


class ChoreRow(Base):
    """Periodic work of which the fleet needs one: when a process last began it, and when one last finished it.

    Work that takes many turns says how far it is.
    """

    __tablename__ = "chore"

    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    began_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    succeeded_at: Mapped[datetime | None]
    progress: Mapped[Json | None]
