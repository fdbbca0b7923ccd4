"""revisions of datasets, deviations over seeds."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"

METRICS = ("top1", "top5", "mean_class")
MEASURED_ON = """
UPDATE result SET revision = (stage.params ->> 'revision')::int
FROM experiment_stage JOIN stage ON stage.key = stage_key AND stage.kind = 'index'
WHERE experiment_stage.experiment_id = result.experiment_id AND stage.params ? 'revision'
"""
OVER_SEEDS = """
WITH seed_mean AS (
    SELECT experiment_id, stream, seed, avg(top1) AS top1, count(*) AS splits FROM result
    WHERE split IS NOT NULL AND seed IS NOT NULL GROUP BY experiment_id, stream, seed
), deviation AS (
    SELECT experiment_id, stream, stddev_samp(top1) AS spread FROM seed_mean GROUP BY experiment_id, stream
)
UPDATE result SET spread = (
    SELECT spread FROM deviation
    WHERE deviation.experiment_id = result.experiment_id AND deviation.stream = result.stream
)
WHERE split IS NULL AND top1 IS NOT NULL
"""
UNKNOWN_OVERLAP = """
UPDATE result SET clips = NULL, lower = NULL, upper = NULL
FROM dataset WHERE dataset.name = result.dataset AND dataset.layout = 'hmdb51' AND split IS NULL
AND (SELECT count(*) FROM result AS part WHERE part.experiment_id = result.experiment_id
     AND part.stream = result.stream AND part.split IS NOT NULL AND part.seed IS NULL) > 1
"""
"""The test sets of HMDB51 overlap, and what is stored does not say by how much those of a dataset like it do."""


def upgrade() -> None:
    """Apply."""
    op.add_column(
        "dataset",
        sa.Column("excluded", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
    )
    op.create_table(
        "dataset_revision",
        sa.Column("dataset", sa.String(length=100), nullable=False),
        sa.Column("revision", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("splits", postgresql.ARRAY(sa.SmallInteger()), nullable=False),
        sa.Column("excluded", sa.Integer(), server_default="0", nullable=False),
        sa.Column("lists_digest", sa.String(length=64), nullable=True),
        sa.Column("digest", sa.String(length=64), nullable=True),
        sa.Column("shared", postgresql.JSONB(none_as_null=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset"], ["dataset.name"], name=op.f("fk_dataset_revision_dataset"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("dataset", "revision", name=op.f("pk_dataset_revision")),
    )
    op.add_column("result", sa.Column("revision", sa.Integer(), server_default="1", nullable=False))
    op.add_column("result", sa.Column("excluded", sa.Integer(), server_default="0", nullable=False))
    for statement in (MEASURED_ON, OVER_SEEDS, UNKNOWN_OVERLAP):
        op.execute(statement)
    of_split = sa.Computed("COALESCE(split, '0'::smallint)", persisted=True)
    op.add_column("result", sa.Column("board_split", sa.SmallInteger(), of_split, nullable=False))
    _index(("dataset", "stream", "board_split", "revision", "protocol"))


def downgrade() -> None:
    """Undo; intervals and deviations stay as they were mended."""
    _index(("dataset", "stream", "split", "protocol"))
    op.drop_column("result", "board_split")
    op.drop_column("result", "excluded")
    op.drop_column("result", "revision")
    op.drop_table("dataset_revision")
    op.drop_column("dataset", "excluded")


def _index(columns: tuple[str, ...]) -> None:
    """Make the partial indexes of the leaderboard anew, on these columns and a metric."""
    for metric in METRICS:
        op.drop_index(f"ix_result_{metric}", table_name="result")
        op.create_index(
            f"ix_result_{metric}",
            "result",
            [*columns, sa.literal_column(f"{metric} DESC NULLS LAST"), "id"],
            unique=False,
            postgresql_where=sa.text("seed IS NULL"),
        )
