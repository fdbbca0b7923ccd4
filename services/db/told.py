"""The tables of what is told: events to whoever follows an experiment, and to MLflow what it has yet to hear."""

from __future__ import annotations

import uuid
from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, Index, SmallInteger, String, func, text
from sqlalchemy.orm import Mapped, mapped_column

from services.db.base import Base, Json, one_of

CHANNELS = ("webhook", "command")
"""By which users are told."""


class EventRow(Base):
    """What happened; the stream of an experiment is its own events, those of its stages, and those of the fleet.

    Identity values are drawn before commit, so their order alone would hide a late committer from a reader that has
    gone on. A reader takes events of finished transactions only, in the order (transaction, id).
    """

    __tablename__ = "event"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    experiment_id: Mapped[str | None] = mapped_column(ForeignKey("experiment.id", ondelete="CASCADE"))
    stage_key: Mapped[str | None] = mapped_column(ForeignKey("stage.key"))
    attempt: Mapped[int | None]
    type: Mapped[str] = mapped_column(String(40))
    data: Mapped[Json] = mapped_column(server_default=text("'{}'"))
    transaction: Mapped[int] = mapped_column(BigInteger, server_default=text("pg_current_xact_id()::text::bigint"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())

    __table_args__ = (
        Index(None, "experiment_id", "transaction", "id"),
        Index("ix_event_transaction", "transaction", "id"),
        Index(None, "stage_key", "transaction", "id"),
        Index(
            "ix_event_fleet", "transaction", "id", postgresql_where=text("experiment_id IS NULL AND stage_key IS NULL")
        ),
    )


class OutboxRow(Base):
    """What MLflow has yet to hear, in order; delivered rows stay as the memory of what must not be sent twice."""

    __tablename__ = "outbox"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    experiment_id: Mapped[str | None] = mapped_column(ForeignKey("experiment.id", ondelete="CASCADE"))
    stage_key: Mapped[str | None] = mapped_column(ForeignKey("stage.key"))
    kind: Mapped[str] = mapped_column(String(20))
    name: Mapped[str] = mapped_column(String(250), server_default="")
    step: Mapped[int] = mapped_column(server_default="0")
    data: Mapped[Json] = mapped_column(server_default=text("'{}'"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    delivered_at: Mapped[datetime | None]
    failures: Mapped[int] = mapped_column(server_default="0")
    error: Mapped[str | None]

    __table_args__ = (
        Index(
            "uq_outbox_once",
            "experiment_id",
            "stage_key",
            "kind",
            "name",
            "step",
            unique=True,
            postgresql_nulls_not_distinct=True,
            postgresql_where=text("kind <> 'status'"),
        ),
        Index("ix_outbox_pending", "id", postgresql_where=text("delivered_at IS NULL")),
        Index("ix_outbox_experiment_id", "experiment_id", postgresql_where=text("experiment_id IS NOT NULL")),
    )


class NoticeRow(Base):
    """That users are told by a channel how an experiment ended, or that it leads a board.

    ``next_at`` is when that is tried next, and None once it was told or given up. It stays when its experiment goes.
    """

    __tablename__ = "notice"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, server_default=text("gen_random_uuid()"))
    channel: Mapped[str] = mapped_column(String(20))
    kind: Mapped[str] = mapped_column(String(20))
    experiment_id: Mapped[str] = mapped_column(String(40))
    data: Mapped[Json]
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    next_at: Mapped[datetime | None] = mapped_column(server_default=func.clock_timestamp())
    tries: Mapped[int] = mapped_column(server_default="0")
    delivered_at: Mapped[datetime | None]
    error: Mapped[str | None]

    __table_args__ = (
        CheckConstraint(one_of("channel", CHANNELS), name="channel"),
        CheckConstraint(one_of("kind", ("end", "failure", "best")), name="kind"),
        Index("ix_notice_next_at", "next_at", postgresql_where=text("next_at IS NOT NULL")),
        Index("ix_notice_created_at", "created_at"),
    )


class TrackerRow(Base):
    """The one row that says whether MLflow takes what it is to hear, written by the process that sends."""

    __tablename__ = "tracker"

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, server_default="1", autoincrement=False)
    state: Mapped[str] = mapped_column(String(20), server_default="ok")
    since: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    message: Mapped[str | None]
    last_success_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint("id = 1", name="one_row"),
        CheckConstraint(one_of("state", ("ok", "held")), name="state"),
    )


class TrackerFolderRow(Base):
    """The MLflow experiment in which the runs of a dataset lie.

    Runs of before each dataset had its own lie in one that goes by no dataset, the empty name.
    """

    __tablename__ = "tracker_folder"

    dataset: Mapped[str] = mapped_column(String(100), primary_key=True)
    folder_id: Mapped[str] = mapped_column(String(100))
