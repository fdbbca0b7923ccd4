"""Ready stages of each queue by owner: a claim reads the best of each owner in the order of the index."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

READY = sa.text("state = 'ready'")


def upgrade() -> None:
    """Put the owner before the priority."""
    op.drop_index("ix_stage_claim", table_name="stage")
    columns = ["queue", "owner", sa.literal_column("priority DESC"), "ready_at", "key"]
    op.create_index("ix_stage_claim", "stage", columns, postgresql_where=READY)


def downgrade() -> None:
    """Put the priority first again."""
    op.drop_index("ix_stage_claim", table_name="stage")
    columns = ["queue", sa.literal_column("priority DESC"), "ready_at"]
    op.create_index("ix_stage_claim", "stage", columns, postgresql_where=READY)
