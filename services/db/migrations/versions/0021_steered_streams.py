"""What a network of rgb that flow steers has measured goes by rgb, which is what it is a network of."""

from __future__ import annotations

from alembic import op

revision = "0021"
down_revision = "0020"

STEERED = """experiment_id IN (
    SELECT id FROM experiment WHERE state = 'succeeded' AND spec -> 'model' ->> 'kind' IN ('motion_alstm', 'video_lstm')
    AND jsonb_array_length(spec -> 'streams') = 2 AND spec #>> '{flow_stream,model,kind}' IS NULL
)"""
"""Of a finished experiment of such a network alone; what goes on is filed as it was planned."""
OF_IT = {
    "result_value": f"result_id IN (SELECT id FROM result WHERE {STEERED})",  # noqa: S608 - of fixed parts
    "result": STEERED,
    "experiment_stream": STEERED,
}


def upgrade() -> None:
    """Apply."""
    op.execute(f"DELETE FROM experiment_stream WHERE stream <> 'two-stream' AND {STEERED}")  # noqa: S608 - fixed parts
    _rename("two-stream", "rgb")


def downgrade() -> None:
    """Undo; that the single streams had no results of their own is not said again."""
    _rename("rgb", "two-stream")


def _rename(before: str, after: str) -> None:
    for table, mine in OF_IT.items():
        op.execute(f"UPDATE {table} SET stream = '{after}' WHERE stream = '{before}' AND {mine}")  # noqa: S608 - likewise
    op.execute("SET CONSTRAINTS ALL IMMEDIATE")  # a later migration may alter what these triggers wait on
