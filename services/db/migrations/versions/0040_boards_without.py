"""Boards: what is deleted changes a dataset's boards as a whole, since nothing is left to say of which it was."""

from __future__ import annotations

from alembic import op

revision = "0040"
down_revision = "0039"

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
    IF {whole} THEN
        UPDATE board_version SET whole = current WHERE dataset = changed AND whole <> current;
    END IF;
    IF who IS NULL THEN
        RETURN NULL;
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


def upgrade() -> None:
    """Apply."""
    op.execute(FUNCTION.format(whole="who IS NULL OR TG_OP = 'DELETE'"))


def downgrade() -> None:
    """Undo."""
    op.execute(FUNCTION.format(whole="who IS NULL"))
