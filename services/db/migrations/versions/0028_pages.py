"""Indexes behind pages: a dataset's stages, an owner's experiments, and those with a kind of network."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0024"

KINDS = sa.text("kind IN ('index', 'flow', 'gpu_flow', 'extract')")
NEWEST = [sa.text("created_at DESC"), sa.text("id DESC")]


def upgrade() -> None:
    """Make them."""
    op.create_index("ix_stage_data", "stage", ["kind", "state"], postgresql_where=KINDS)
    op.create_index("ix_experiment_owner", "experiment", ["owner", *NEWEST])
    op.create_index("ix_experiment_stream_model", "experiment_stream", ["model", "experiment_id"])


def downgrade() -> None:
    """Drop them."""
    op.drop_index("ix_experiment_stream_model", "experiment_stream")
    op.drop_index("ix_experiment_owner", "experiment")
    op.drop_index("ix_stage_data", "stage")
