"""By what the time of a stage is known, and the line of those that wait, each found by an index."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0034"
down_revision = "0033"

COSTLESS = frozenset(
    {"split", "seed", "shard", "digest", "weights", "optimizer", "milestones", "dropout", "average", "method"}
)
"""As `services/queue/history.py` had them."""
BATCH = 1000


def upgrade() -> None:
    """Apply; what earlier stages took goes on to be known."""
    op.add_column("stage", sa.Column("sizes", sa.String(64)))
    connection = op.get_bind()
    query = (
        "SELECT DISTINCT ON (stage.key) stage.key, kind, params, dataset FROM stage"
        " JOIN experiment_stage ON stage_key = stage.key JOIN experiment ON experiment.id = experiment_id"
        " ORDER BY stage.key, experiment.id"
    )
    rows = connection.execute(sa.text(query)).all()
    change = sa.text("UPDATE stage SET sizes = :sizes WHERE key = :key")
    for batch in _batches(rows):
        connection.execute(change, [{"key": row.key, "sizes": _sizes(row)} for row in batch])
    op.create_index(
        "ix_stage_sizes",
        "stage",
        ["sizes", sa.text("finished_at DESC")],
        postgresql_where=sa.text("sizes IS NOT NULL"),
    )
    op.create_index(
        "ix_stage_line",
        "stage",
        ["state", sa.text("priority DESC"), "ready_at", "key"],
        postgresql_where=sa.text("state IN ('ready', 'waiting')"),
    )


def downgrade() -> None:
    """Undo."""
    op.drop_index("ix_stage_line", table_name="stage")
    op.drop_index("ix_stage_sizes", table_name="stage")
    op.drop_column("stage", "sizes")


def _batches(rows: Any) -> Iterator[Any]:
    for first in range(0, len(rows), BATCH):
        yield rows[first : first + BATCH]


def _sizes(row: Any) -> str:
    return hashlib.sha256(json.dumps([row.dataset, row.kind, _sized(row.params)], sort_keys=True).encode()).hexdigest()


def _sized(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _sized(entry) for name, entry in value.items() if name not in COSTLESS}
    return value
