"""keys with scopes and an end, owners of datasets."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Apply; keys from before go on doing what they could."""
    scopes: sa.Column[list[str]] = sa.Column(
        "scopes", postgresql.ARRAY(sa.String(20)), server_default="{read,submit}", nullable=False
    )
    op.add_column("api_key", scopes)
    op.add_column("api_key", sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("api_key", sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True))
    op.execute("UPDATE api_key SET scopes = '{read,submit,datasets}'")
    owner = sa.Column("owner", sa.String(100), server_default="administrator", nullable=False)
    op.add_column("dataset", owner)


def downgrade() -> None:
    """Undo; what the code of before would take for a valid key with all rights goes."""
    op.execute(
        "DELETE FROM api_key WHERE revoked_at IS NOT NULL OR expires_at IS NOT NULL OR NOT 'submit' = ANY(scopes)"
    )
    op.drop_column("dataset", "owner")
    for name in ("revoked_at", "expires_at", "scopes"):
        op.drop_column("api_key", name)
