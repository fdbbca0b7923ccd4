"""What each attempt took: memory, memory of a GPU, disk."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

COLUMNS = ("memory_bytes", "gpu_memory_bytes", "disk_bytes")


def upgrade() -> None:
    """Add them; of attempts from before nobody knows."""
    for name in COLUMNS:
        op.add_column("attempt", sa.Column(name, sa.BigInteger()))


def downgrade() -> None:
    """Drop them."""
    for name in reversed(COLUMNS):
        op.drop_column("attempt", name)
