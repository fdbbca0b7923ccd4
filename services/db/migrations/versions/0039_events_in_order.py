"""Events: all of them in their order, so that one query finds what came for whoever follows."""

from __future__ import annotations

from alembic import op

revision = "0039"
down_revision = "0038"


def upgrade() -> None:
    """Apply."""
    op.create_index("ix_event_transaction", "event", ["transaction", "id"])


def downgrade() -> None:
    """Undo."""
    op.drop_index("ix_event_transaction", table_name="event")
