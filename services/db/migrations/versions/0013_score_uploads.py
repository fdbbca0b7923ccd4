"""Score files that users bring."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "score_upload",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("owner", sa.String(100), nullable=False),
        sa.Column("dataset", sa.String(100), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("split", sa.SmallInteger(), nullable=False),
        sa.Column("stream", sa.String(20), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("clips", sa.Integer(), nullable=False),
        sa.Column("classes", sa.Integer(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.ForeignKeyConstraint(["id"], ["stage.key"], name=op.f("fk_score_upload_id")),
        sa.ForeignKeyConstraint(["dataset"], ["dataset.name"], name=op.f("fk_score_upload_dataset")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_score_upload")),
    )
    op.create_index(op.f("ix_score_upload_dataset"), "score_upload", ["dataset"])


def downgrade() -> None:
    """Undo; the scores go on being finished stages."""
    op.drop_table("score_upload")
