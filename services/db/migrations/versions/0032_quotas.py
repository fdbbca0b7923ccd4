"""What an owner may run at once, and how large a share of the fleet is theirs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0032"
down_revision = "0031"


def upgrade() -> None:
    """Apply; nobody is limited until a setting of the API says so."""
    op.create_table(
        "quota",
        sa.Column("owner", sa.String(100), nullable=False),
        sa.Column("stages", sa.Integer(), nullable=True),
        sa.Column("gpus", sa.Integer(), nullable=True),
        sa.Column("share", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("owner", name="pk_quota"),
    )


def downgrade() -> None:
    """Undo."""
    op.drop_table("quota")
