"""what experiments ask of shared stages, workers that drain, periodic work."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

CONSTRAINT = "ck_worker_state"
BEFORE = "state IN ('alive', 'stopped', 'lost')"
AFTER = "state IN ('alive', 'draining', 'stopped', 'lost')"


def upgrade() -> None:
    """Apply; what earlier experiments asked for stands in their specs."""
    op.add_column("experiment", sa.Column("gpus", sa.SmallInteger(), server_default="1", nullable=False))
    op.add_column("experiment", sa.Column("timeout_seconds", sa.Double(), server_default="86400", nullable=False))
    op.execute(
        "UPDATE experiment SET gpus = greatest(1, coalesce((spec #>> '{resources,gpus}')::int, 1)),"
        " timeout_seconds = coalesce((spec #>> '{resources,timeout_hours}')::float8, 24) * 3600"
    )
    op.add_column("stage", sa.Column("avoid_worker_id", sa.String(60), nullable=True))
    op.add_column("worker", sa.Column("message", sa.Text(), nullable=True))
    op.drop_constraint(op.f(CONSTRAINT), "worker", type_="check")
    op.create_check_constraint(op.f(CONSTRAINT), "worker", AFTER)
    op.create_table(
        "chore",
        sa.Column("name", sa.String(40), nullable=False),
        sa.Column("began_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("succeeded_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_chore")),
    )


def downgrade() -> None:
    """Undo."""
    op.drop_table("chore")
    op.execute("UPDATE worker SET state = 'lost' WHERE state = 'draining'")
    op.drop_constraint(op.f(CONSTRAINT), "worker", type_="check")
    op.create_check_constraint(op.f(CONSTRAINT), "worker", BEFORE)
    op.drop_column("worker", "message")
    op.drop_column("stage", "avoid_worker_id")
    op.drop_column("experiment", "timeout_seconds")
    op.drop_column("experiment", "gpus")
