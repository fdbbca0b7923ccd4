"""What people say of an experiment: tags, a note, archived, withdrawn, deleted; and a search over all of it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0031"
down_revision = "0029"

PAGE, PAGE_ORDER = "ix_experiment_page", [sa.text("created_at DESC"), sa.text("id DESC")]
SEARCHED = ["name", "owner", "state", "dataset"]
INCOMPLETE = ["dataset", "stream", "revision", "protocol", "id"]
COLUMNS = {
    "experiment": (
        sa.Column("tags", postgresql.ARRAY(sa.String(50)), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("note", sa.Text(), server_default="", nullable=False),
        sa.Column("archived_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("withdrawn_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("withdrawn_by", sa.String(100), nullable=True),
        sa.Column("withdrawn_reason", sa.Text(), nullable=True),
        sa.Column("edits", sa.Integer(), server_default="0", nullable=False),
        sa.Column("words", postgresql.TSVECTOR(), nullable=True),
    ),
    "result": (sa.Column("withdrawn", sa.Boolean(), server_default="false", nullable=False),),
}
# No parser of Postgres takes words apart: it knows numbers, hosts and files, and would not find the beginning of one.
WORDS_OF = r"""
CREATE FUNCTION words_of(text) RETURNS text[] LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT array_agg(DISTINCT left(word, 60))
    FROM regexp_split_to_table(
        lower(translate($1, '-!"#$%&''()*+,./;:<=>?@[\]^_`{|}~', repeat(' ', 32))), '\s+') AS word
    WHERE word <> ''
$$
"""
NOTE_WORDS = """
CREATE FUNCTION note_experiment_words() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.words := array_to_tsvector(words_of(concat_ws(' ',
        NEW.name, NEW.owner, NEW.dataset, NEW.recipe, NEW.state, NEW.note, array_to_string(NEW.tags, ' '),
        NEW.spec #>> '{model,kind}', NEW.spec #>> '{flow_stream,model,kind}',
        CASE WHEN NEW.spec ? 'members' THEN 'ensemble' END)));
    RETURN NEW;
END $$
"""
WORDED = """
CREATE TRIGGER worded BEFORE INSERT OR UPDATE OF name, owner, dataset, recipe, state, note, tags, spec ON experiment
FOR EACH ROW EXECUTE FUNCTION note_experiment_words()
"""
NEEDED = """
INSERT INTO experiment_need (experiment_id, needed_id)
SELECT DISTINCT experiment.id, needed.id
FROM experiment CROSS JOIN LATERAL jsonb_path_query(spec, 'strict $.**.experiment') AS named
JOIN experiment AS needed ON needed.id = named #>> '{}'
"""
CHANGED = """
CREATE CONSTRAINT TRIGGER board_changed AFTER UPDATE OF {columns} ON experiment DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW WHEN ({conditions}) EXECUTE FUNCTION note_board_change('dataset')
"""
SHOWN = ("flags", "name", "withdrawn_reason")
"""Columns of an experiment that its dataset's boards show."""
RANK = r"""
UPDATE result_value AS value SET dataset = result.dataset, stream = result.stream, split = coalesce(result.split, 0),
    revision = result.revision, model = result.model, seeds = result.seeds,
    protocol = CASE WHEN metric LIKE 'video\_map\_%' OR metric LIKE 'box\_recall\_%' THEN box_protocol
        ELSE result.protocol END,
    source = CASE WHEN uploaded THEN 'uploaded' WHEN result.source = 'ensemble' THEN 'ensemble' ELSE 'trained' END
FROM result WHERE result.id = value.result_id AND result.seed IS NULL AND result.withdrawn
"""


def upgrade() -> None:
    """Apply; what is there is neither tagged nor withdrawn, and what its spec names is noted."""
    for table, columns in COLUMNS.items():
        for column in columns:
            op.add_column(table, column)
    for statement in (WORDS_OF, NOTE_WORDS, WORDED, "UPDATE experiment SET tags = tags"):
        op.execute(statement)
    op.create_index("ix_experiment_words", "experiment", ["words"], postgresql_using="gin")
    op.create_index("ix_experiment_tags", "experiment", ["tags"], postgresql_using="gin")
    _page([*SEARCHED, "archived_at"])
    _incomplete("missing_splits <> '{}' AND NOT withdrawn")
    op.create_index(
        "ix_result_withdrawn", "result", ["dataset", "stream", "revision"], postgresql_where=sa.text("withdrawn")
    )
    op.create_index(
        "ix_outbox_experiment_id", "outbox", ["experiment_id"], postgresql_where=sa.text("experiment_id IS NOT NULL")
    )
    op.create_table(
        "experiment_need",
        sa.Column("experiment_id", sa.String(40), nullable=False),
        sa.Column("needed_id", sa.String(40), nullable=False),
        sa.PrimaryKeyConstraint("experiment_id", "needed_id", name="pk_experiment_need"),
        sa.ForeignKeyConstraint(
            ["experiment_id"], ["experiment.id"], name="fk_experiment_need_experiment_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["needed_id"], ["experiment.id"], name="fk_experiment_need_needed_id"),
    )
    op.create_index("ix_experiment_need_needed_id", "experiment_need", ["needed_id"])
    op.execute(NEEDED)
    op.create_table(
        "deleted_experiment",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("owner", sa.String(100), nullable=False),
        sa.Column("dataset", sa.String(100), nullable=False),
        sa.Column("idempotency_key", sa.String(200), nullable=True),
        sa.Column("deleted_by", sa.String(100), nullable=False),
        sa.Column(
            "deleted_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("id", name="pk_deleted_experiment"),
    )
    op.create_index("ix_deleted_experiment_owner", "deleted_experiment", ["owner", "idempotency_key"])
    _changed(*SHOWN)


def downgrade() -> None:
    """Undo; what was withdrawn is ranked again."""
    op.execute(RANK)
    op.execute("SET CONSTRAINTS ALL IMMEDIATE")
    _changed("flags")
    op.drop_table("deleted_experiment")
    op.drop_table("experiment_need")
    op.drop_index("ix_outbox_experiment_id", "outbox")
    op.drop_index("ix_result_withdrawn", "result")
    _incomplete("missing_splits <> '{}'")
    _page(SEARCHED)
    for index in ("ix_experiment_tags", "ix_experiment_words"):
        op.drop_index(index, "experiment")
    op.execute("DROP TRIGGER worded ON experiment")
    op.execute("DROP FUNCTION note_experiment_words()")
    op.execute("DROP FUNCTION words_of(text)")
    for table, columns in COLUMNS.items():
        for column in reversed(columns):
            op.drop_column(table, column.name)


def _page(columns: list[str]) -> None:
    op.drop_index(PAGE, "experiment")
    op.create_index(PAGE, "experiment", PAGE_ORDER, postgresql_include=columns)


def _incomplete(where: str) -> None:
    op.drop_index("ix_result_incomplete", "result")
    op.create_index("ix_result_incomplete", "result", INCOMPLETE, postgresql_where=sa.text(where))


def _changed(*columns: str) -> None:
    op.execute("DROP TRIGGER board_changed ON experiment")
    conditions = " OR ".join(f"OLD.{column} IS DISTINCT FROM NEW.{column}" for column in columns)
    op.execute(CHANGED.format(columns=", ".join(columns), conditions=conditions))
