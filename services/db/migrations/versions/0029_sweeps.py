"""Sweeps, their trials, and the schema in which Optuna keeps what it remembers of them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0029"
down_revision = "0028"

MOMENT = sa.DateTime(timezone=True)
NOW = sa.text("clock_timestamp()")
JSON = postgresql.JSONB(none_as_null=True)
SWEEP_STATES = ("running", "finishing", "cancelling", "cancelled", "succeeded", "failed")
TRIAL_STATES = ("running", "succeeded", "pruned", "failed", "cancelled")


def _in(states: tuple[str, ...]) -> str:
    return f"state IN ({', '.join(map(repr, states))})"


def upgrade() -> None:
    """Apply; Optuna makes its own tables when the first sweep begins."""
    op.create_table(
        "sweep",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("owner", sa.String(100), nullable=False),
        sa.Column("dataset", sa.String(100), nullable=False),
        sa.Column("spec", JSON, nullable=False),
        sa.Column("base", JSON, nullable=False),
        sa.Column("recipe", sa.String(100), nullable=True),
        sa.Column("state", sa.String(20), server_default="running", nullable=False),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("idempotency_key", sa.String(200), nullable=True),
        sa.Column("body_digest", sa.String(64), nullable=False),
        sa.Column("best_trial", sa.Integer(), nullable=True),
        sa.Column("created_at", MOMENT, server_default=NOW, nullable=False),
        sa.Column("finished_at", MOMENT, nullable=True),
        sa.CheckConstraint(_in(SWEEP_STATES), name=op.f("ck_sweep_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sweep")),
        sa.UniqueConstraint("owner", "idempotency_key", name=op.f("uq_sweep_owner_idempotency_key")),
    )
    op.create_index("ix_sweep_page", "sweep", [sa.text("created_at DESC"), sa.text("id DESC")])
    live = sa.text(_in(("running", "finishing", "cancelling")))
    op.create_index("ix_sweep_live", "sweep", ["id"], postgresql_where=live)
    op.create_table(
        "sweep_trial",
        sa.Column("sweep_id", sa.String(40), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("values", JSON, nullable=False),
        sa.Column("state", sa.String(20), server_default="running", nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("epochs", sa.Integer(), server_default="0", nullable=False),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("experiment_id", sa.String(40), nullable=True),
        sa.Column("told", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("created_at", MOMENT, server_default=NOW, nullable=False),
        sa.Column("finished_at", MOMENT, nullable=True),
        sa.CheckConstraint(_in(TRIAL_STATES), name=op.f("ck_sweep_trial_state")),
        sa.ForeignKeyConstraint(["sweep_id"], ["sweep.id"], name=op.f("fk_sweep_trial_sweep_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["experiment_id"], ["experiment.id"], name=op.f("fk_sweep_trial_experiment_id"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("sweep_id", "number", name=op.f("pk_sweep_trial")),
    )
    op.create_index(op.f("ix_sweep_trial_experiment_id"), "sweep_trial", ["experiment_id"])
    op.add_column("experiment", sa.Column("sweep_id", sa.String(40), nullable=True))
    op.add_column("experiment", sa.Column("trial", sa.Integer(), nullable=True))
    op.create_foreign_key(
        op.f("fk_experiment_sweep_id"), "experiment", "sweep", ["sweep_id"], ["id"], ondelete="SET NULL"
    )
    swept = sa.text("sweep_id IS NOT NULL")
    op.create_index("ix_experiment_sweep", "experiment", ["sweep_id", "trial"], postgresql_where=swept)
    op.execute("CREATE SCHEMA IF NOT EXISTS optuna")


def downgrade() -> None:
    """Undo."""
    op.execute("DROP SCHEMA IF EXISTS optuna CASCADE")
    op.drop_index("ix_experiment_sweep", "experiment")
    op.drop_constraint(op.f("fk_experiment_sweep_id"), "experiment", type_="foreignkey")
    op.drop_column("experiment", "trial")
    op.drop_column("experiment", "sweep_id")
    op.drop_table("sweep_trial")
    op.drop_table("sweep")
