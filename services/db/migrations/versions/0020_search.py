"""The index by which experiments are paged has what they are searched by, so that a search reads no specs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"

NAME, TABLE = "ix_experiment_page", "experiment"
ORDER = [sa.text("created_at DESC"), sa.text("id DESC")]


def upgrade() -> None:
    """Make the index anew with more in it."""
    op.drop_index(NAME, TABLE)
    op.create_index(NAME, TABLE, ORDER, postgresql_include=["name", "owner", "state", "dataset"])


def downgrade() -> None:
    """Make it anew as it was."""
    op.drop_index(NAME, TABLE)
    op.create_index(NAME, TABLE, ORDER)
