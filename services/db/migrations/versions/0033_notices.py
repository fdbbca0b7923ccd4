"""What users have yet to be told, by which channel, and how often that was tried."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0033"
down_revision = "0032"


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "notice",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("channel", sa.String(20), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("experiment_id", sa.String(40), nullable=False),
        sa.Column("data", postgresql.JSONB(none_as_null=True), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("next_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=True),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_notice"),
        sa.CheckConstraint("channel IN ('webhook', 'command')", name=op.f("ck_notice_channel")),
        sa.CheckConstraint("kind IN ('end', 'failure', 'best')", name=op.f("ck_notice_kind")),
    )
    op.create_index("ix_notice_next_at", "notice", ["next_at"], postgresql_where=sa.text("next_at IS NOT NULL"))
    op.create_index("ix_notice_created_at", "notice", ["created_at"])


def downgrade() -> None:
    """Undo."""
    op.drop_table("notice")
