"""The tables of sweeps. What Optuna remembers of them lies in a schema of its own (`services/sweeps/study.py`)."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from services.db.base import Base, Json, one_of

SWEEP_STATES = ("running", "finishing", "cancelling", "cancelled", "succeeded", "failed")
"""`finishing` trains the best configuration as a whole."""
LIVE_SWEEPS = ("running", "finishing", "cancelling")
TRIAL_STATES = ("running", "succeeded", "pruned", "failed", "cancelled")


class SweepRow(Base):
    """A search over the fields of an experiment.

    ``spec`` is the sweep with its whole space, ``base`` the experiment from which trials differ; ``flags`` are what the
    linter found doubtful of it.
    """

    __tablename__ = "sweep"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    owner: Mapped[str] = mapped_column(String(100))
    dataset: Mapped[str] = mapped_column(String(100))
    spec: Mapped[Json]
    base: Mapped[Json]
    recipe: Mapped[str | None] = mapped_column(String(100))
    state: Mapped[str] = mapped_column(String(20), server_default="running")
    message: Mapped[str | None]
    idempotency_key: Mapped[str | None] = mapped_column(String(200))
    body_digest: Mapped[str] = mapped_column(String(64))
    best_trial: Mapped[int | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    finished_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint(one_of("state", SWEEP_STATES), name="state"),
        UniqueConstraint("owner", "idempotency_key"),
        Index("ix_sweep_page", text("created_at DESC"), text("id DESC")),
        Index("ix_sweep_live", "id", postgresql_where=text(one_of("state", LIVE_SWEEPS))),
    )


class SweepTrialRow(Base):
    """A configuration that a sweep tries, and what came of it.

    ``number`` is Optuna's. ``values`` are those of the sweep's space, by field; ``value`` is the accuracy, 0 to 1, and
    ``epochs`` how many had ended when it was read. ``told`` says that Optuna knows how it ended.
    """

    __tablename__ = "sweep_trial"

    sweep_id: Mapped[str] = mapped_column(ForeignKey("sweep.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    values: Mapped[Json]
    state: Mapped[str] = mapped_column(String(20), server_default="running")
    value: Mapped[float | None]
    epochs: Mapped[int] = mapped_column(server_default="0")
    message: Mapped[str | None]
    experiment_id: Mapped[str | None] = mapped_column(ForeignKey("experiment.id", ondelete="SET NULL"), index=True)
    told: Mapped[bool] = mapped_column(server_default="false")
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    finished_at: Mapped[datetime | None]

    __table_args__ = (CheckConstraint(one_of("state", TRIAL_STATES), name="state"),)
