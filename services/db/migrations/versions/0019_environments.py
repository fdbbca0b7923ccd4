"""What ran: the revision of the code that took an experiment, and the environment of each attempt."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    """Add them; of experiments and attempts from before nobody knows."""
    op.add_column("experiment", sa.Column("code_revision", sa.String(100)))
    op.add_column("attempt", sa.Column("environment", JSONB()))


def downgrade() -> None:
    """Drop them."""
    op.drop_column("attempt", "environment")
    op.drop_column("experiment", "code_revision")
