"""evicted outputs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

CONSTRAINT = "ck_stage_state"
BEFORE = "state IN ('waiting', 'ready', 'running', 'succeeded', 'failed', 'cancelled')"
AFTER = "state IN ('waiting', 'ready', 'running', 'succeeded', 'failed', 'cancelled', 'evicted')"


def upgrade() -> None:
    """Apply."""
    op.add_column("stage", sa.Column("state_dropped_at_attempt", sa.Integer(), server_default="0", nullable=False))
    op.drop_constraint(op.f(CONSTRAINT), "stage", type_="check")
    op.create_check_constraint(op.f(CONSTRAINT), "stage", AFTER)


def downgrade() -> None:
    """Undo; a stage without an output is a cancelled one to the code of before, which runs it again when needed."""
    op.execute("UPDATE stage SET state = 'cancelled' WHERE state = 'evicted'")
    op.drop_constraint(op.f(CONSTRAINT), "stage", type_="check")
    op.create_check_constraint(op.f(CONSTRAINT), "stage", BEFORE)
    op.drop_column("stage", "state_dropped_at_attempt")
