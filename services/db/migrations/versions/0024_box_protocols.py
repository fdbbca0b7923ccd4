"""How the metrics of boxes of a result were measured, by which they are ranked."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"

TABLE, COLUMN, INDEX = "result", "box_protocol", "ix_result_incomplete_boxes"
BOARD = ["dataset", "stream", "revision", COLUMN, "id"]


def upgrade() -> None:
    """Apply; what was measured before has no such metrics."""
    op.add_column(TABLE, sa.Column(COLUMN, sa.String(64), nullable=True))
    op.create_foreign_key(f"fk_{TABLE}_{COLUMN}", TABLE, "protocol", [COLUMN], ["digest"])
    where = sa.text(f"missing_splits <> '{{}}' AND {COLUMN} IS NOT NULL")
    op.create_index(INDEX, TABLE, BOARD, postgresql_where=where)


def downgrade() -> None:
    """Undo; the metrics that no earlier version knows go along."""
    op.execute("DELETE FROM result_value WHERE metric LIKE 'video\\_map\\_%' OR metric LIKE 'box\\_recall\\_%'")
    op.execute("SET CONSTRAINTS ALL IMMEDIATE")
    op.drop_index(INDEX, TABLE)
    op.drop_constraint(f"fk_{TABLE}_{COLUMN}", TABLE, type_="foreignkey")
    op.drop_column(TABLE, COLUMN)
