"""Boards: which experiments changed since when, so that what did not is read once."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0038"
down_revision = "0037"

FUNCTION = """
CREATE OR REPLACE FUNCTION note_board_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changed text;
    who text;
    own bigint := pg_current_xact_id()::text::bigint;
    current bigint;
BEGIN
    IF TG_OP = 'DELETE' THEN
        changed := to_jsonb(OLD) ->> TG_ARGV[0];
        who := to_jsonb(OLD) ->> TG_ARGV[1];
    ELSE
        changed := to_jsonb(NEW) ->> TG_ARGV[0];
        who := to_jsonb(NEW) ->> TG_ARGV[1];
    END IF;
    INSERT INTO board_version AS known (dataset, transaction) VALUES (changed, own)
    ON CONFLICT (dataset) DO UPDATE SET version = gen_random_uuid(), transaction = own, number = known.number + 1
        WHERE known.transaction <> own;
    SELECT number INTO current FROM board_version WHERE dataset = changed;
    IF who IS NULL THEN
        UPDATE board_version SET whole = current WHERE dataset = changed AND whole <> current;
    ELSIF EXISTS (SELECT FROM experiment WHERE id = who) THEN
        INSERT INTO board_change AS known (experiment_id, dataset, number) VALUES (who, changed, current)
        ON CONFLICT (experiment_id) DO UPDATE SET number = current, dataset = changed
            WHERE (known.number, known.dataset) IS DISTINCT FROM (current, changed);
    ELSE
        DELETE FROM board_change WHERE experiment_id = who;
    END IF;
    RETURN NULL;
END $$
"""
"""Whoever changes a dataset's boards holds the row of its version until the commit, so that numbers follow commits."""
BEFORE = """
CREATE OR REPLACE FUNCTION note_board_change() RETURNS trigger LANGUAGE plpgsql AS $$
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
    "result": ("INSERT OR UPDATE OR DELETE", "", "'dataset', 'experiment_id'"),
    "experiment": (
        "UPDATE OF flags, withdrawn_reason",
        "WHEN ((OLD.flags, OLD.withdrawn_reason) IS DISTINCT FROM (NEW.flags, NEW.withdrawn_reason))",
        "'dataset', 'id'",
    ),
}
"""Those that say which experiment has changed; the others change a dataset's boards as a whole."""


def upgrade() -> None:
    """Apply; what was there before has changed at number 0."""
    op.add_column("board_version", sa.Column("number", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("board_version", sa.Column("whole", sa.BigInteger(), nullable=False, server_default="0"))
    op.create_table(
        "board_change",
        sa.Column("experiment_id", sa.String(40), nullable=False),
        sa.Column("dataset", sa.String(100), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("experiment_id", name=op.f("pk_board_change")),
    )
    op.create_index("ix_board_change_number", "board_change", ["dataset", "number"])
    op.execute(FUNCTION)
    for table, (events, when, arguments) in TRIGGERS.items():
        _replace(table, events, when, arguments)


def downgrade() -> None:
    """Undo."""
    op.execute(BEFORE)
    for table, (events, when, _) in TRIGGERS.items():
        _replace(table, events, when, "'dataset'")
    op.drop_table("board_change")
    op.drop_column("board_version", "whole")
    op.drop_column("board_version", "number")


def _replace(table: str, events: str, when: str, arguments: str) -> None:
    op.execute(f"DROP TRIGGER board_changed ON {table}")
    op.execute(
        f"CREATE CONSTRAINT TRIGGER board_changed AFTER {events} ON {table} DEFERRABLE INITIALLY DEFERRED"
        f" FOR EACH ROW {when} EXECUTE FUNCTION note_board_change({arguments})"
    )
