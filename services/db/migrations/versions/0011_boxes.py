"""A dataset may have boxes: a file, and its hash where the API could read it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Add the columns."""
    op.add_column("dataset", sa.Column("boxes", sa.Text, nullable=False, server_default=""))
    op.add_column("dataset", sa.Column("boxes_digest", sa.String(64)))


def downgrade() -> None:
    """Drop them."""
    for name in ("boxes", "boxes_digest"):
        op.drop_column("dataset", name)
