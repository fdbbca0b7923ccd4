"""A claim reads the best stages of each owner in the order of an index."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Put the owner before the priority."""
    _index("owner", sa.text("priority DESC"), "ready_at", "key")


def downgrade() -> None:
    """Take the owner out again."""
    _index(sa.text("priority DESC"), "ready_at")


def _index(*columns: str | sa.TextClause) -> None:
    op.drop_index("ix_stage_claim", table_name="stage")
    op.create_index("ix_stage_claim", "stage", ["queue", *columns], postgresql_where=sa.text("state = 'ready'"))
