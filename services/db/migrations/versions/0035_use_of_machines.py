"""What attempts use of their machines, and what workers' hosts do."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0035"
down_revision = "0034"


def upgrade() -> None:
    """Apply; earlier attempts on GPUs held as many as their stages ask for, what else they used nobody knows."""
    op.add_column("attempt", sa.Column("gpus", sa.SmallInteger(), nullable=False, server_default="0"))
    op.add_column("attempt", sa.Column("cpu_seconds", sa.Double()))
    op.add_column("attempt", sa.Column("curves", JSONB()))
    op.add_column("worker", sa.Column("use", JSONB()))
    op.execute("UPDATE attempt SET gpus = stage.gpus FROM stage WHERE key = stage_key AND device <> 'cpu'")
    op.create_index("ix_attempt_finished_at", "attempt", ["finished_at"])


def downgrade() -> None:
    """Undo."""
    op.drop_index("ix_attempt_finished_at", table_name="attempt")
    op.drop_column("worker", "use")
    for name in ("curves", "cpu_seconds", "gpus"):
        op.drop_column("attempt", name)
