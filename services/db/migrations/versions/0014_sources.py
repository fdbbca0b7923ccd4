"""Where results come from: an experiment or an ensemble, and whether scores of it were computed elsewhere."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"

TABLES = ("experiment_stream", "result")


def upgrade() -> None:
    """Apply; what is there came from experiments."""
    for table in TABLES:
        op.add_column(table, sa.Column("source", sa.String(20), server_default="experiment", nullable=False))
        op.add_column(table, sa.Column("uploaded", sa.Boolean(), server_default="false", nullable=False))


def downgrade() -> None:
    """Undo."""
    for table in TABLES:
        for column in ("uploaded", "source"):
            op.drop_column(table, column)
