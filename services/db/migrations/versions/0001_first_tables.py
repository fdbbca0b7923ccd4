"""first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "api_key",
        sa.Column("owner", sa.String(length=100), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("owner", name=op.f("pk_api_key")),
        sa.UniqueConstraint("digest", name=op.f("uq_api_key_digest")),
    )
    op.create_table(
        "dataset",
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("layout", sa.String(length=20), server_default="ucf101", nullable=False),
        sa.Column("root", sa.Text(), server_default="", nullable=False),
        sa.Column("annotations", sa.Text(), server_default="", nullable=False),
        sa.Column("generator", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("revision", sa.Integer(), server_default="1", nullable=False),
        sa.Column("num_classes", sa.Integer(), nullable=True),
        sa.Column("num_clips", sa.Integer(), nullable=True),
        sa.Column("splits", postgresql.ARRAY(sa.SmallInteger()), server_default=sa.text("'{1,2,3}'"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_dataset")),
    )
    op.create_table(
        "experiment",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("owner", sa.String(length=100), nullable=False),
        sa.Column("dataset", sa.String(length=100), nullable=False),
        sa.Column("spec", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False),
        sa.Column("recipe", sa.String(length=100), nullable=True),
        sa.Column("state", sa.String(length=20), server_default="queued", nullable=False),
        sa.Column("priority", sa.SmallInteger(), server_default="50", nullable=False),
        sa.Column("idempotency_key", sa.String(length=200), nullable=True),
        sa.Column("body_digest", sa.String(length=64), nullable=False),
        sa.Column("cause", sa.String(length=40), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("reused_stages", sa.Integer(), server_default="0", nullable=False),
        sa.Column("total_stages", sa.Integer(), server_default="0", nullable=False),
        sa.Column("mlflow_run_id", sa.String(length=40), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state IN ('queued', 'running', 'cancelling', 'cancelled', 'succeeded', 'failed')",
            name=op.f("ck_experiment_state"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_experiment")),
        sa.UniqueConstraint("owner", "idempotency_key", name=op.f("uq_experiment_owner_idempotency_key")),
    )
    op.create_index(op.f("ix_experiment_dataset"), "experiment", ["dataset"], unique=False)
    op.create_index(
        "ix_experiment_page",
        "experiment",
        [sa.literal_column("created_at DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_table(
        "stage",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("params", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("queue", sa.String(length=20), nullable=False),
        sa.Column("state", sa.String(length=20), server_default="waiting", nullable=False),
        sa.Column("priority", sa.SmallInteger(), server_default="50", nullable=False),
        sa.Column("owner", sa.String(length=100), nullable=False),
        sa.Column("gpus", sa.SmallInteger(), server_default="1", nullable=False),
        sa.Column("timeout_seconds", sa.Double(), nullable=False),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False),
        sa.Column("attempts_forgiven", sa.Integer(), server_default="0", nullable=False),
        sa.Column("cancel_requested", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("worker_id", sa.String(length=60), nullable=True),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=True),
        sa.Column("progress", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("summary", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("output", sa.Text(), nullable=True),
        sa.Column("cause", sa.String(length=40), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("mlflow_run_id", sa.String(length=40), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("ready_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state IN ('waiting', 'ready', 'running', 'succeeded', 'failed', 'cancelled')", name=op.f("ck_stage_state")
        ),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_stage")),
    )
    op.create_index(
        "ix_stage_claim",
        "stage",
        ["queue", sa.literal_column("priority DESC"), "ready_at"],
        unique=False,
        postgresql_where=sa.text("state = 'ready'"),
    )
    op.create_index(
        "ix_stage_lease", "stage", ["lease_expires_at"], unique=False, postgresql_where=sa.text("state = 'running'")
    )
    op.create_table(
        "worker",
        sa.Column("id", sa.String(length=60), nullable=False),
        sa.Column("host", sa.String(length=200), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("queues", postgresql.ARRAY(sa.String(length=20)), nullable=False),
        sa.Column("devices", postgresql.ARRAY(sa.String(length=20)), nullable=False),
        sa.Column("concurrency", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=20), server_default="alive", nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("state IN ('alive', 'stopped', 'lost')", name=op.f("ck_worker_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_worker")),
    )
    op.create_table(
        "attempt",
        sa.Column("stage_key", sa.String(length=64), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("worker_id", sa.String(length=60), nullable=False),
        sa.Column("device", sa.String(length=40), nullable=False),
        sa.Column("state", sa.String(length=20), server_default="running", nullable=False),
        sa.Column("cause", sa.String(length=40), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("exit_code", sa.Integer(), nullable=True),
        sa.Column("log", sa.Text(), nullable=True),
        sa.Column(
            "started_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["stage_key"], ["stage.key"], name=op.f("fk_attempt_stage_key")),
        sa.PrimaryKeyConstraint("stage_key", "number", name=op.f("pk_attempt")),
    )
    op.create_table(
        "event",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("experiment_id", sa.String(length=40), nullable=True),
        sa.Column("stage_key", sa.String(length=64), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=True),
        sa.Column("type", sa.String(length=40), nullable=False),
        sa.Column(
            "data",
            postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
        sa.Column(
            "transaction", sa.BigInteger(), server_default=sa.text("pg_current_xact_id()::text::bigint"), nullable=False
        ),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["experiment_id"], ["experiment.id"], name=op.f("fk_event_experiment_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["stage_key"], ["stage.key"], name=op.f("fk_event_stage_key")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_event")),
    )
    op.create_index(
        op.f("ix_event_experiment_id_transaction_id"), "event", ["experiment_id", "transaction", "id"], unique=False
    )
    op.create_index(
        op.f("ix_event_stage_key_transaction_id"), "event", ["stage_key", "transaction", "id"], unique=False
    )
    op.create_table(
        "experiment_stage",
        sa.Column("experiment_id", sa.String(length=40), nullable=False),
        sa.Column("stage_key", sa.String(length=64), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("reused", sa.Boolean(), server_default="false", nullable=False),
        sa.ForeignKeyConstraint(
            ["experiment_id"], ["experiment.id"], name=op.f("fk_experiment_stage_experiment_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["stage_key"], ["stage.key"], name=op.f("fk_experiment_stage_stage_key")),
        sa.PrimaryKeyConstraint("experiment_id", "stage_key", name=op.f("pk_experiment_stage")),
    )
    op.create_index(op.f("ix_experiment_stage_stage_key"), "experiment_stage", ["stage_key"], unique=False)
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("experiment_id", sa.String(length=40), nullable=True),
        sa.Column("stage_key", sa.String(length=64), nullable=True),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("name", sa.String(length=250), server_default="", nullable=False),
        sa.Column("step", sa.Integer(), server_default="0", nullable=False),
        sa.Column(
            "data",
            postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["experiment_id"], ["experiment.id"], name=op.f("fk_outbox_experiment_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["stage_key"], ["stage.key"], name=op.f("fk_outbox_stage_key")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
    )
    op.create_index(
        "ix_outbox_pending", "outbox", ["id"], unique=False, postgresql_where=sa.text("delivered_at IS NULL")
    )
    op.create_index(
        "uq_outbox_once",
        "outbox",
        ["experiment_id", "stage_key", "kind", "name", "step"],
        unique=True,
        postgresql_nulls_not_distinct=True,
        postgresql_where=sa.text("kind <> 'status'"),
    )
    op.create_table(
        "result",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("experiment_id", sa.String(length=40), nullable=False),
        sa.Column("dataset", sa.String(length=100), nullable=False),
        sa.Column("stream", sa.String(length=20), nullable=False),
        sa.Column("split", sa.SmallInteger(), nullable=True),
        sa.Column("seed", sa.Integer(), nullable=True),
        sa.Column("protocol", sa.String(length=200), nullable=False),
        sa.Column("model", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("top1", sa.Double(), nullable=True),
        sa.Column("top5", sa.Double(), nullable=True),
        sa.Column("mean_class", sa.Double(), nullable=True),
        sa.Column("clips", sa.Integer(), nullable=True),
        sa.Column("spread", sa.Double(), nullable=True),
        sa.Column("lower", sa.Double(), nullable=True),
        sa.Column("upper", sa.Double(), nullable=True),
        sa.Column("seeds", sa.Integer(), server_default="1", nullable=False),
        sa.Column(
            "missing_splits", postgresql.ARRAY(sa.SmallInteger()), server_default=sa.text("'{}'"), nullable=False
        ),
        sa.Column("stage_key", sa.String(length=64), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["experiment_id"], ["experiment.id"], name=op.f("fk_result_experiment_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["stage_key"], ["stage.key"], name=op.f("fk_result_stage_key")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_result")),
        sa.UniqueConstraint(
            "experiment_id",
            "stream",
            "split",
            "seed",
            name=op.f("uq_result_experiment_id_stream_split_seed"),
            postgresql_nulls_not_distinct=True,
        ),
    )
    op.create_index(
        "ix_result_mean_class",
        "result",
        ["dataset", "stream", "split", "protocol", sa.literal_column("mean_class DESC NULLS LAST"), "id"],
        unique=False,
        postgresql_where=sa.text("seed IS NULL"),
    )
    op.create_index(
        "ix_result_top1",
        "result",
        ["dataset", "stream", "split", "protocol", sa.literal_column("top1 DESC NULLS LAST"), "id"],
        unique=False,
        postgresql_where=sa.text("seed IS NULL"),
    )
    op.create_index(
        "ix_result_top5",
        "result",
        ["dataset", "stream", "split", "protocol", sa.literal_column("top5 DESC NULLS LAST"), "id"],
        unique=False,
        postgresql_where=sa.text("seed IS NULL"),
    )
    op.create_table(
        "stage_input",
        sa.Column("stage_key", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("input_key", sa.String(length=64), nullable=False),
        sa.Column("position", sa.SmallInteger(), nullable=False),
        sa.ForeignKeyConstraint(["input_key"], ["stage.key"], name=op.f("fk_stage_input_input_key")),
        sa.ForeignKeyConstraint(["stage_key"], ["stage.key"], name=op.f("fk_stage_input_stage_key")),
        sa.PrimaryKeyConstraint("stage_key", "name", name=op.f("pk_stage_input")),
    )
    op.create_index(op.f("ix_stage_input_input_key"), "stage_input", ["input_key"], unique=False)


def downgrade() -> None:
    """Undo."""
    op.drop_index(op.f("ix_stage_input_input_key"), table_name="stage_input")
    op.drop_table("stage_input")
    op.drop_index("ix_result_top5", table_name="result", postgresql_where=sa.text("seed IS NULL"))
    op.drop_index("ix_result_top1", table_name="result", postgresql_where=sa.text("seed IS NULL"))
    op.drop_index("ix_result_mean_class", table_name="result", postgresql_where=sa.text("seed IS NULL"))
    op.drop_table("result")
    op.drop_index(
        "uq_outbox_once",
        table_name="outbox",
        postgresql_nulls_not_distinct=True,
        postgresql_where=sa.text("kind <> 'status'"),
    )
    op.drop_index("ix_outbox_pending", table_name="outbox", postgresql_where=sa.text("delivered_at IS NULL"))
    op.drop_table("outbox")
    op.drop_index(op.f("ix_experiment_stage_stage_key"), table_name="experiment_stage")
    op.drop_table("experiment_stage")
    op.drop_index(op.f("ix_event_stage_key_transaction_id"), table_name="event")
    op.drop_index(op.f("ix_event_experiment_id_transaction_id"), table_name="event")
    op.drop_table("event")
    op.drop_table("attempt")
    op.drop_table("worker")
    op.drop_index("ix_stage_lease", table_name="stage", postgresql_where=sa.text("state = 'running'"))
    op.drop_index("ix_stage_claim", table_name="stage", postgresql_where=sa.text("state = 'ready'"))
    op.drop_table("stage")
    op.drop_index("ix_experiment_page", table_name="experiment")
    op.drop_index(op.f("ix_experiment_dataset"), table_name="experiment")
    op.drop_table("experiment")
    op.drop_table("dataset")
    op.drop_table("api_key")
