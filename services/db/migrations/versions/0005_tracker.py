"""state of the tracker, events of the fleet."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "tracker",
        sa.Column("id", sa.SmallInteger(), server_default="1", autoincrement=False, nullable=False),
        sa.Column("state", sa.String(length=20), server_default="ok", nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("last_success_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("folder_id", sa.String(length=100), nullable=True),
        sa.CheckConstraint("id = 1", name=op.f("ck_tracker_one_row")),
        sa.CheckConstraint("state IN ('ok', 'held')", name=op.f("ck_tracker_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tracker")),
    )
    fleet = sa.text("experiment_id IS NULL AND stage_key IS NULL")
    op.create_index("ix_event_fleet", "event", ["transaction", "id"], postgresql_where=fleet)


def downgrade() -> None:
    """Undo."""
    op.drop_index("ix_event_fleet", table_name="event")
    op.drop_table("tracker")
