"""An MLflow experiment for each dataset; runs of before stay in the one that they lie in."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    """Apply; the experiment of all runs goes by no dataset."""
    op.create_table(
        "tracker_folder",
        sa.Column("dataset", sa.String(length=100), nullable=False),
        sa.Column("folder_id", sa.String(length=100), nullable=False),
        sa.PrimaryKeyConstraint("dataset", name=op.f("pk_tracker_folder")),
    )
    op.execute(
        "INSERT INTO tracker_folder (dataset, folder_id) SELECT '', folder_id FROM tracker WHERE folder_id IS NOT NULL"
    )
    op.add_column("experiment", sa.Column("mlflow_folder_id", sa.String(length=100), nullable=True))
    op.execute(
        "UPDATE experiment SET mlflow_folder_id = (SELECT folder_id FROM tracker) WHERE mlflow_run_id IS NOT NULL"
    )
    op.drop_column("tracker", "folder_id")


def downgrade() -> None:
    """Undo; runs are looked for in the experiment of all of them, if there was one."""
    op.add_column("tracker", sa.Column("folder_id", sa.String(length=100), nullable=True))
    op.execute("UPDATE tracker SET folder_id = (SELECT folder_id FROM tracker_folder WHERE dataset = '')")
    op.drop_column("experiment", "mlflow_folder_id")
    op.drop_table("tracker_folder")
