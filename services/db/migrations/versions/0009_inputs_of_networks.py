"""What a network sees of clips is one value, in the rows of train and score stages from before too."""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"

TRAIN = """
UPDATE stage SET params = params - '{snippet,end_to_end}'::text[] || jsonb_build_object('input', CASE
    WHEN jsonb_typeof(params -> 'end_to_end') = 'object' THEN (params -> 'end_to_end') || '{"kind": "frames"}'
    WHEN jsonb_typeof(params -> 'snippet') = 'number'
        THEN jsonb_build_object('kind', 'snippets', 'length', params -> 'snippet')
    ELSE '{"kind": "spaced_features"}' END)
WHERE kind = 'train' AND NOT params ? 'input'
"""
SCORE = """
UPDATE stage SET params = params - '{views,end_to_end}'::text[] || jsonb_build_object('input', CASE
    WHEN jsonb_typeof(params -> 'end_to_end') = 'object'
        THEN (params -> 'end_to_end') - '{snippets,augmentation}'::text[]
            || ((params -> 'views') - 'snippet') || '{"kind": "frames"}'
    WHEN jsonb_typeof(params -> 'views') = 'object'
        THEN jsonb_build_object('kind', 'snippets', 'length', params #> '{views,snippet}',
                                'count', params #> '{views,frames}')
    ELSE '{"kind": "spaced_features"}' END)
WHERE kind = 'score' AND NOT params ? 'input'
"""
TRAIN_BEFORE = """
UPDATE stage SET params = params - 'input' || jsonb_build_object(
    'snippet', params #> '{input,length}',
    'end_to_end', CASE WHEN params #>> '{input,kind}' = 'frames' THEN (params -> 'input') - 'kind' END)
WHERE kind = 'train' AND params ? 'input'
"""
SCORE_BEFORE = """
UPDATE stage SET params = params - 'input' || jsonb_build_object(
    'views', CASE params #>> '{input,kind}'
        WHEN 'frames' THEN jsonb_build_object(
            'frames', params #> '{input,frames}', 'snippet', NULL,
            'positions', params #> '{input,positions}', 'crops', params #> '{input,crops}')
        WHEN 'snippets' THEN jsonb_build_object(
            'frames', params #> '{input,count}', 'snippet', params #> '{input,length}',
            'positions', 1, 'crops', 'center') END,
    'end_to_end', CASE WHEN params #>> '{input,kind}' = 'frames'
        THEN (params -> 'input') - '{kind,frames,positions,crops}'::text[]
            || jsonb_build_object('snippets', params #> '{input,frames}', 'augmentation', false) END)
WHERE kind = 'score' AND params ? 'input'
"""
"""No test reads `snippets` and `augmentation`, which are the training's."""


def upgrade() -> None:
    """Apply; keys stay, since what the stages compute does."""
    op.execute(TRAIN)
    op.execute(SCORE)


def downgrade() -> None:
    """Undo."""
    op.execute(TRAIN_BEFORE)
    op.execute(SCORE_BEFORE)
