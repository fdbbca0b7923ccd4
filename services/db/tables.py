"""The tables; Postgres owns the truth about every experiment, stage and attempt."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    SmallInteger,
    String,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from services.db.base import Base, Json, one_of
from services.db.measured import (
    BoardVersionRow,
    ExperimentStreamRow,
    PredictionRow,
    ProtocolRow,
    ResultHitsRow,
    ResultRow,
    ResultValueRow,
    TruthRow,
)
from services.db.told import EventRow, OutboxRow, TrackerRow

__all__ = [
    "EXPERIMENT_STATES",
    "FINISHED",
    "STAGE_STATES",
    "WORKER_STATES",
    "ApiKeyRow",
    "AttemptRow",
    "Base",
    "BoardVersionRow",
    "ChoreRow",
    "DatasetRevisionRow",
    "DatasetRow",
    "EventRow",
    "ExperimentRow",
    "ExperimentStageRow",
    "ExperimentStreamRow",
    "OutboxRow",
    "PaperRow",
    "PredictionRow",
    "ProtocolRow",
    "ResultHitsRow",
    "ResultRow",
    "ResultValueRow",
    "ScoreUploadRow",
    "StageInputRow",
    "StageRow",
    "TrackerRow",
    "TruthRow",
    "WorkerRow",
]

EXPERIMENT_STATES = ("queued", "running", "cancelling", "cancelled", "succeeded", "failed")
STAGE_STATES = ("waiting", "ready", "running", "succeeded", "failed", "cancelled", "evicted")
WORKER_STATES = ("alive", "draining", "stopped", "lost")
FINISHED = ("succeeded", "failed", "cancelled")


class ApiKeyRow(Base):
    """Who may do what, one key an owner; the key itself is kept as a SHA-256 only."""

    __tablename__ = "api_key"

    owner: Mapped[str] = mapped_column(String(100), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    scopes: Mapped[list[str]] = mapped_column(ARRAY(String(20)), server_default=text("'{read,submit}'"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class DatasetRow(Base):
    """A registered dataset; the manifest of its clips is the output of its `index` stage."""

    __tablename__ = "dataset"

    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    owner: Mapped[str] = mapped_column(String(100), server_default="administrator")
    layout: Mapped[str] = mapped_column(String(20), server_default="ucf101")
    root: Mapped[str] = mapped_column(server_default="")
    annotations: Mapped[str] = mapped_column(server_default="")
    generator: Mapped[Json | None]
    revision: Mapped[int] = mapped_column(server_default="1")
    excluded: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    boxes: Mapped[str] = mapped_column(server_default="")
    boxes_digest: Mapped[str | None] = mapped_column(String(64))
    num_classes: Mapped[int | None]
    num_clips: Mapped[int | None]
    splits: Mapped[list[int]] = mapped_column(ARRAY(SmallInteger), server_default=text("'{1,2,3}'"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class DatasetRevisionRow(Base):
    """What a revision of a dataset holds, as far as the API or its `index` stage has read it.

    ``lists_digest`` is the hash of the lists, ``digest`` that of lists and clips. ``shared`` has, of every clip that
    two splits or more test on, its place among the test clips of each, by split.
    """

    __tablename__ = "dataset_revision"

    dataset: Mapped[str] = mapped_column(ForeignKey("dataset.name", ondelete="CASCADE"), primary_key=True)
    revision: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    splits: Mapped[list[int]] = mapped_column(ARRAY(SmallInteger))
    excluded: Mapped[int] = mapped_column(server_default="0")
    lists_digest: Mapped[str | None] = mapped_column(String(64))
    digest: Mapped[str | None] = mapped_column(String(64))
    shared: Mapped[list[dict[str, int]] | None] = mapped_column(JSONB(none_as_null=True))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class ExperimentRow(Base):
    """What a user submitted, and how far it is."""

    __tablename__ = "experiment"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    owner: Mapped[str] = mapped_column(String(100))
    dataset: Mapped[str] = mapped_column(String(100), index=True)
    spec: Mapped[Json]
    recipe: Mapped[str | None] = mapped_column(String(100))
    state: Mapped[str] = mapped_column(String(20), server_default="queued")
    priority: Mapped[int] = mapped_column(SmallInteger, server_default="50")
    gpus: Mapped[int] = mapped_column(SmallInteger, server_default="1")
    timeout_seconds: Mapped[float] = mapped_column(server_default="86400")
    idempotency_key: Mapped[str | None] = mapped_column(String(200))
    body_digest: Mapped[str] = mapped_column(String(64))
    flags: Mapped[list[Json]] = mapped_column(JSONB, server_default=text("'[]'"))
    code_revision: Mapped[str | None] = mapped_column(String(100))
    cause: Mapped[str | None] = mapped_column(String(40))
    message: Mapped[str | None]
    reused_stages: Mapped[int] = mapped_column(server_default="0")
    total_stages: Mapped[int] = mapped_column(server_default="0")
    mlflow_run_id: Mapped[str | None] = mapped_column(String(40))
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint(one_of("state", EXPERIMENT_STATES), name="state"),
        UniqueConstraint("owner", "idempotency_key"),
        Index(
            "ix_experiment_page",
            text("created_at DESC"),
            text("id DESC"),
            postgresql_include=["name", "owner", "state", "dataset"],  # a search reads nothing else of the others
        ),
    )


class StageRow(Base):
    """A unit of work, shared by every experiment whose plan holds its key.

    Priority, owner, gpus and time limit are no part of the key: they are asked for by the experiments that need the
    stage now, and change with them.
    """

    __tablename__ = "stage"

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    kind: Mapped[str] = mapped_column(String(20))
    params: Mapped[Json]
    label: Mapped[str]
    queue: Mapped[str] = mapped_column(String(20))
    state: Mapped[str] = mapped_column(String(20), server_default="waiting")
    priority: Mapped[int] = mapped_column(SmallInteger, server_default="50")
    owner: Mapped[str] = mapped_column(String(100))
    gpus: Mapped[int] = mapped_column(SmallInteger, server_default="1")
    timeout_seconds: Mapped[float]
    attempt: Mapped[int] = mapped_column(server_default="0")
    attempts_forgiven: Mapped[int] = mapped_column(server_default="0")
    state_dropped_at_attempt: Mapped[int] = mapped_column(server_default="0")
    cancel_requested: Mapped[bool] = mapped_column(server_default="false")
    avoid_worker_id: Mapped[str | None] = mapped_column(String(60))
    worker_id: Mapped[str | None] = mapped_column(String(60))
    lease_expires_at: Mapped[datetime | None]
    not_before: Mapped[datetime | None]
    progress: Mapped[Json | None]
    summary: Mapped[Json | None]
    output: Mapped[str | None]
    cause: Mapped[str | None] = mapped_column(String(40))
    message: Mapped[str | None]
    mlflow_run_id: Mapped[str | None] = mapped_column(String(40))
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    ready_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint(one_of("state", STAGE_STATES), name="state"),
        Index(
            "ix_stage_claim",
            "queue",
            "owner",
            text("priority DESC"),
            "ready_at",
            "key",
            postgresql_where=text("state = 'ready'"),
        ),
        Index("ix_stage_lease", "lease_expires_at", postgresql_where=text("state = 'running'")),
    )


class ExperimentStageRow(Base):
    """Which stages an experiment needs, and whether they were there before it."""

    __tablename__ = "experiment_stage"

    experiment_id: Mapped[str] = mapped_column(ForeignKey("experiment.id", ondelete="CASCADE"), primary_key=True)
    stage_key: Mapped[str] = mapped_column(ForeignKey("stage.key"), primary_key=True, index=True)
    position: Mapped[int]
    reused: Mapped[bool] = mapped_column(server_default="false")


class StageInputRow(Base):
    """An edge of the graph: a stage and one of its inputs."""

    __tablename__ = "stage_input"

    stage_key: Mapped[str] = mapped_column(ForeignKey("stage.key"), primary_key=True)
    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    input_key: Mapped[str] = mapped_column(ForeignKey("stage.key"), index=True)
    position: Mapped[int] = mapped_column(SmallInteger)


class ScoreUploadRow(Base):
    """Class scores that a user brought; ``id`` is the key of the finished `score` stage that holds them."""

    __tablename__ = "score_upload"

    id: Mapped[str] = mapped_column(ForeignKey("stage.key"), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    owner: Mapped[str] = mapped_column(String(100))
    dataset: Mapped[str] = mapped_column(ForeignKey("dataset.name"), index=True)
    revision: Mapped[int]
    split: Mapped[int] = mapped_column(SmallInteger)
    stream: Mapped[str] = mapped_column(String(20))
    kind: Mapped[str] = mapped_column(String(20))
    clips: Mapped[int]
    classes: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())


class PaperRow(Base):
    """An experiment that stands behind a row of a paper's table, for what the paper measured on some dataset.

    ``part`` counts the experiments of a figure that has several, of which 0 has its value; -1 is a member of an
    ensemble. ``system`` is the hash of what is measured, whatever the splits, streams and seeds; ``reduced`` says that
    it is less than the paper's.
    """

    __tablename__ = "paper_row"

    experiment_id: Mapped[str] = mapped_column(ForeignKey("experiment.id", ondelete="CASCADE"), primary_key=True)
    paper: Mapped[str] = mapped_column(String(40), primary_key=True)
    table_name: Mapped[str] = mapped_column(String(20), primary_key=True)
    row: Mapped[str] = mapped_column(String(100), primary_key=True)
    dataset: Mapped[str] = mapped_column(String(100), primary_key=True)
    part: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    system: Mapped[str] = mapped_column(String(64), index=True)
    reduced: Mapped[bool] = mapped_column(server_default="false")

    __table_args__ = (Index("ix_paper_row_place", "paper", "table_name", "row", "dataset", text("experiment_id DESC")),)


class AttemptRow(Base):
    """One execution of a stage; its number is the fencing token.

    What it took is in bytes, and known of what has succeeded: the most memory of its process and of its tensors on a
    GPU, and the size of its output.
    """

    __tablename__ = "attempt"

    stage_key: Mapped[str] = mapped_column(ForeignKey("stage.key"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    worker_id: Mapped[str] = mapped_column(String(60))
    device: Mapped[str] = mapped_column(String(40))
    state: Mapped[str] = mapped_column(String(20), server_default="running")
    cause: Mapped[str | None] = mapped_column(String(40))
    message: Mapped[str | None]
    exit_code: Mapped[int | None]
    log: Mapped[str | None]
    memory_bytes: Mapped[int | None] = mapped_column(BigInteger)
    gpu_memory_bytes: Mapped[int | None] = mapped_column(BigInteger)
    disk_bytes: Mapped[int | None] = mapped_column(BigInteger)
    environment: Mapped[Json | None]
    started_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    finished_at: Mapped[datetime | None]


class WorkerRow(Base):
    """A Celery worker process that reports for work."""

    __tablename__ = "worker"

    id: Mapped[str] = mapped_column(String(60), primary_key=True)
    host: Mapped[str] = mapped_column(String(200))
    pid: Mapped[int]
    queues: Mapped[list[str]] = mapped_column(ARRAY(String(20)))
    devices: Mapped[list[str]] = mapped_column(ARRAY(String(20)))
    concurrency: Mapped[int]
    state: Mapped[str] = mapped_column(String(20), server_default="alive")
    message: Mapped[str | None]
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    last_seen_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (CheckConstraint(one_of("state", WORKER_STATES), name="state"),)


class ChoreRow(Base):
    """Periodic work of which the fleet needs one: when a process last began it, and when one last finished it."""

    __tablename__ = "chore"

    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    began_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    succeeded_at: Mapped[datetime | None]
