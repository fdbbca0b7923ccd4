"""What was said of a clip has its confidence, and a test set the ids of its clips."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    """Add the columns; what was measured before has neither."""
    op.add_column("prediction", sa.Column("confidences", sa.LargeBinary))
    op.add_column("truth", sa.Column("ids", sa.Text))


def downgrade() -> None:
    """Drop them."""
    op.drop_column("truth", "ids")
    op.drop_column("prediction", "confidences")
