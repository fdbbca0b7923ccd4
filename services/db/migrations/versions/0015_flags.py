"""What the linter finds doubtful stands with the experiment."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Add the flags; experiments from before have none."""
    op.add_column("experiment", sa.Column("flags", JSONB(), server_default=sa.text("'[]'"), nullable=False))


def downgrade() -> None:
    """Drop them."""
    op.drop_column("experiment", "flags")
