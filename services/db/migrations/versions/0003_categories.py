"""accuracies by category."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Apply."""
    op.add_column("result", sa.Column("categories", postgresql.JSONB(none_as_null=True), nullable=True))


def downgrade() -> None:
    """Undo."""
    op.drop_column("result", "categories")
