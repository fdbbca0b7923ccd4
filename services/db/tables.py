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
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column

from services.db.base import Base, Json, one_of
from services.db.fleet import WORKER_STATES, ApiKeyRow, ChoreRow, QuotaRow, WorkerRow
from services.db.measured import (
    BoardChangeRow,
    BoardVersionRow,
    ExperimentStreamRow,
    PredictionRow,
    ProtocolRow,
    ResultHitsRow,
    ResultRow,
    ResultValueRow,
    TruthRow,
)
from services.db.swept import SWEEP_STATES, TRIAL_STATES, SweepRow, SweepTrialRow
from services.db.told import EventRow, NoticeRow, OutboxRow, TrackerFolderRow, TrackerRow

__all__ = [
    "EXPERIMENT_STATES",
    "FINISHED",
    "STAGE_STATES",
    "SWEEP_STATES",
    "TRIAL_STATES",
    "WORKER_STATES",
    "ApiKeyRow",
    "AttemptRow",
    "Base",
    "BoardChangeRow",
    "BoardVersionRow",
    "ChoreRow",
    "DatasetCheckRow",
    "DatasetRevisionRow",
    "DatasetRow",
    "DeletedExperimentRow",
    "EventRow",
    "ExperimentNeedRow",
    "ExperimentRow",
    "ExperimentStageRow",
    "ExperimentStreamRow",
    "NoticeRow",
    "OutboxRow",
    "PaperRow",
    "PredictionRow",
    "ProtocolRow",
    "QuotaRow",
    "ResultHitsRow",
    "ResultRow",
    "ResultValueRow",
    "ScoreUploadRow",
    "StageInputRow",
    "StageRow",
    "SweepRow",
    "SweepTrialRow",
    "TrackerFolderRow",
    "TrackerRow",
    "TruthRow",
    "WorkerRow",
]

EXPERIMENT_STATES = ("queued", "running", "cancelling", "cancelled", "succeeded", "failed")
STAGE_STATES = ("waiting", "ready", "running", "succeeded", "failed", "cancelled", "evicted")
FINISHED = ("succeeded", "failed", "cancelled")


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


class DatasetCheckRow(Base):
    """What the doctor of a dataset found in a revision when it looked last; see `services/datasets/checkup.py`."""

    __tablename__ = "dataset_check"

    dataset: Mapped[str] = mapped_column(ForeignKey("dataset.name", ondelete="CASCADE"), primary_key=True)
    revision: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    found: Mapped[Json]
    checked_by: Mapped[str] = mapped_column(String(100))
    checked_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())


class ExperimentRow(Base):
    """What a user submitted, how far it is, and what was said of it afterwards.

    ``edits`` counts the changes of name, tags, note and archive; a trigger writes ``words``, by which it is searched
    (`services/db/migrations/versions/0031_manners.py`).

    What a sweep submitted has its ``sweep_id`` and the number of its ``trial``; the best, trained as a whole, has none.
    """

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
    mlflow_folder_id: Mapped[str | None] = mapped_column(String(100))
    sweep_id: Mapped[str | None] = mapped_column(ForeignKey("sweep.id", ondelete="SET NULL"))
    trial: Mapped[int | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    tags: Mapped[list[str]] = mapped_column(ARRAY(String(50)), server_default=text("'{}'"))
    note: Mapped[str] = mapped_column(server_default="")
    archived_at: Mapped[datetime | None]
    withdrawn_at: Mapped[datetime | None]
    withdrawn_by: Mapped[str | None] = mapped_column(String(100))
    withdrawn_reason: Mapped[str | None]
    edits: Mapped[int] = mapped_column(server_default="0")
    words: Mapped[str | None] = mapped_column(TSVECTOR, deferred=True)

    __table_args__ = (
        CheckConstraint(one_of("state", EXPERIMENT_STATES), name="state"),
        UniqueConstraint("owner", "idempotency_key"),
        Index("ix_experiment_sweep", "sweep_id", "trial", postgresql_where=text("sweep_id IS NOT NULL")),
        Index("ix_experiment_owner", "owner", text("created_at DESC"), text("id DESC")),
        Index(
            "ix_experiment_page",
            text("created_at DESC"),
            text("id DESC"),
            postgresql_include=["name", "owner", "state", "dataset", "archived_at"],  # read of all that do not match
        ),
        Index("ix_experiment_words", "words", postgresql_using="gin"),
        Index("ix_experiment_tags", "tags", postgresql_using="gin"),
    )


class ExperimentNeedRow(Base):
    """That the spec of an experiment names another one: as a member, or as the source of weights."""

    __tablename__ = "experiment_need"

    experiment_id: Mapped[str] = mapped_column(ForeignKey("experiment.id", ondelete="CASCADE"), primary_key=True)
    needed_id: Mapped[str] = mapped_column(ForeignKey("experiment.id"), primary_key=True, index=True)


class DeletedExperimentRow(Base):
    """What is left of an experiment that was deleted, so that its id and its idempotency key are answered for."""

    __tablename__ = "deleted_experiment"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    owner: Mapped[str] = mapped_column(String(100))
    dataset: Mapped[str] = mapped_column(String(100))
    idempotency_key: Mapped[str | None] = mapped_column(String(200))
    deleted_by: Mapped[str] = mapped_column(String(100))
    deleted_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())

    __table_args__ = (Index("ix_deleted_experiment_owner", "owner", "idempotency_key"),)


class StageRow(Base):
    """A unit of work, shared by every experiment whose plan holds its key.

    Priority, owner, gpus and time limit are no part of the key: they are asked for by the experiments that need the
    stage now, and change with them. ``sizes`` is the hash of all on which depends how long it takes; None where that is
    not known.
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
    sizes: Mapped[str | None] = mapped_column(String(64))
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
        Index(
            "ix_stage_data",
            "kind",
            "state",
            postgresql_where=text("kind IN ('index', 'flow', 'gpu_flow', 'extract')"),
        ),
        Index(
            "ix_stage_line",
            "state",
            text("priority DESC"),
            "ready_at",
            "key",
            postgresql_where=text("state IN ('ready', 'waiting')"),
        ),
        Index("ix_stage_sizes", "sizes", text("finished_at DESC"), postgresql_where=text("sizes IS NOT NULL")),
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
    GPU, and the size of its output. ``gpus`` is how many it held, ``cpu_seconds`` the time that processors computed for
    it, as far as measured, and ``curves`` what it used when (`services/queue/curve.py`).
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
    gpus: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    cpu_seconds: Mapped[float | None]
    curves: Mapped[Json | None] = mapped_column(deferred=True)
    environment: Mapped[Json | None]
    started_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    finished_at: Mapped[datetime | None] = mapped_column(index=True)
