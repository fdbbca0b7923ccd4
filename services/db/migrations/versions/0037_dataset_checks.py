"""What the doctor of a dataset found, by revision."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0037"
down_revision = "0035"


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "dataset_check",
        sa.Column("dataset", sa.String(100), sa.ForeignKey("dataset.name", ondelete="CASCADE"), primary_key=True),
        sa.Column("revision", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("found", JSONB(), nullable=False),
        sa.Column("checked_by", sa.String(100), nullable=False),
        sa.Column("checked_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.clock_timestamp()),
    )


def downgrade() -> None:
    """Undo."""
    op.drop_table("dataset_check")
