"""Boards: by what their entries are filtered, what each said of the test clips, and a version of each dataset's."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"

BOARD = ("dataset", "stream", "split", "metric", "revision", "protocol", sa.text("merit DESC"), "result_id")
RANKED = sa.text("dataset IS NOT NULL")
FILTERS = ("model", "source", "seeds")
FILL = """
UPDATE result_value AS value SET model = result.model, seeds = result.seeds,
    source = CASE WHEN uploaded THEN 'uploaded' WHEN result.source = 'ensemble' THEN 'ensemble' ELSE 'trained' END
FROM result WHERE result.id = value.result_id AND value.dataset IS NOT NULL
"""
FUNCTION = """
CREATE FUNCTION note_board_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changed text;
    own bigint := pg_current_xact_id()::text::bigint;
BEGIN
    IF TG_OP = 'DELETE' THEN
        changed := to_jsonb(OLD) ->> TG_ARGV[0];
    ELSE
        changed := to_jsonb(NEW) ->> TG_ARGV[0];
    END IF;
    INSERT INTO board_version AS known (dataset, transaction) VALUES (changed, own)
    ON CONFLICT (dataset) DO UPDATE SET version = gen_random_uuid(), transaction = own WHERE known.transaction <> own;
    RETURN NULL;
END $$
"""
TRIGGERS = {
    "result": ("INSERT OR UPDATE OR DELETE", "dataset"),
    "experiment": ("UPDATE OF flags", "dataset"),
    "dataset": ("INSERT OR UPDATE OF revision OR DELETE", "name"),
    "dataset_revision": ("INSERT OR UPDATE OR DELETE", "dataset"),
}
"""What changes a board, and the column that names the dataset. The function runs as a transaction commits, so that no
other one waits for longer than that."""


def upgrade() -> None:
    """Apply; a dataset's boards get a first version. Earlier results have no hits until they are written again."""
    op.create_table(
        "result_hits",
        sa.Column("result_id", sa.BigInteger(), nullable=False),
        sa.Column("within", sa.SmallInteger(), nullable=False),
        sa.Column("truth", sa.String(64), nullable=False),
        sa.Column("seeds", sa.SmallInteger(), nullable=False),
        sa.Column("bits", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["result_id"], ["result.id"], name=op.f("fk_result_hits_result_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("result_id", "within", name=op.f("pk_result_hits")),
    )
    op.create_table(
        "board_version",
        sa.Column("dataset", sa.String(100), nullable=False),
        sa.Column("version", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("transaction", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("dataset", name=op.f("pk_board_version")),
    )
    op.add_column("result_value", sa.Column("model", sa.String(40), nullable=True))
    op.add_column("result_value", sa.Column("source", sa.String(20), nullable=True))
    op.add_column("result_value", sa.Column("seeds", sa.Integer(), nullable=True))
    op.drop_index("ix_result_value_board", table_name="result_value")
    op.execute(FILL)
    op.create_index("ix_result_value_board", "result_value", [*BOARD, *FILTERS], postgresql_where=RANKED)
    op.execute("INSERT INTO board_version (dataset, transaction) SELECT name, 0 FROM dataset")
    op.execute(FUNCTION)
    for table, (events, column) in TRIGGERS.items():
        when = "WHEN (OLD.flags IS DISTINCT FROM NEW.flags)" if table == "experiment" else ""
        op.execute(
            f"CREATE CONSTRAINT TRIGGER board_changed AFTER {events} ON {table} DEFERRABLE INITIALLY DEFERRED"
            f" FOR EACH ROW {when} EXECUTE FUNCTION note_board_change('{column}')"
        )


def downgrade() -> None:
    """Undo."""
    for table in TRIGGERS:
        op.execute(f"DROP TRIGGER board_changed ON {table}")
    op.execute("DROP FUNCTION note_board_change()")
    op.drop_index("ix_result_value_board", table_name="result_value")
    for name in reversed(FILTERS):
        op.drop_column("result_value", name)
    op.create_index("ix_result_value_board", "result_value", [*BOARD], postgresql_where=RANKED)
    op.drop_table("board_version")
    op.drop_table("result_hits")
