"""Which row of a paper's table an experiment stands behind."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Apply; nothing that is there was launched for a row."""
    op.create_table(
        "paper_row",
        sa.Column("experiment_id", sa.String(40), nullable=False),
        sa.Column("paper", sa.String(40), nullable=False),
        sa.Column("table_name", sa.String(20), nullable=False),
        sa.Column("row", sa.String(100), nullable=False),
        sa.Column("dataset", sa.String(100), nullable=False),
        sa.Column("part", sa.SmallInteger(), nullable=False, autoincrement=False),
        sa.Column("system", sa.String(64), nullable=False),
        sa.Column("reduced", sa.Boolean(), server_default="false", nullable=False),
        sa.PrimaryKeyConstraint("experiment_id", "paper", "table_name", "row", "dataset", "part", name="pk_paper_row"),
        sa.ForeignKeyConstraint(
            ["experiment_id"], ["experiment.id"], name="fk_paper_row_experiment_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_paper_row_system", "paper_row", ["system"])
    newest = sa.text("experiment_id DESC")
    op.create_index("ix_paper_row_place", "paper_row", ["paper", "table_name", "row", "dataset", newest])


def downgrade() -> None:
    """Undo."""
    op.drop_table("paper_row")
