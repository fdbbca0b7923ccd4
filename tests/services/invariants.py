"""What must hold of the queue's rows, as queries for whatever breaks it."""

from __future__ import annotations

from sqlalchemy import text

ONE_OWNER = text("""
SELECT stage.key FROM stage LEFT JOIN attempt ON stage_key = key AND attempt.state = 'running'
GROUP BY key, stage.state, stage.attempt
HAVING count(number) <> (stage.state = 'running')::int OR coalesce(max(number), stage.attempt) <> stage.attempt
""")
READY_TOO_EARLY = text("""
SELECT stage.key FROM stage JOIN stage_input ON stage_key = stage.key JOIN stage AS source ON source.key = input_key
WHERE stage.state IN ('ready', 'running') AND source.state <> 'succeeded'
""")
FORGOTTEN = text("""
SELECT key FROM stage WHERE state = 'waiting' AND NOT EXISTS (
    SELECT FROM stage_input JOIN stage AS source ON source.key = input_key
    WHERE stage_key = stage.key AND source.state <> 'succeeded')
""")
HOPELESS = text("""
SELECT stage.key FROM stage JOIN stage_input ON stage_key = stage.key JOIN stage AS source ON source.key = input_key
WHERE stage.state = 'waiting' AND source.state IN ('failed', 'cancelled')
""")
USELESS = text("""
SELECT key FROM stage WHERE state IN ('waiting', 'ready') AND NOT EXISTS (
    SELECT FROM experiment_stage AS mine JOIN experiment ON id = experiment_id
    WHERE mine.stage_key = key AND experiment.state IN ('queued', 'running') AND (
        NOT EXISTS (SELECT FROM stage_input JOIN experiment_stage AS taking ON taking.stage_key = stage_input.stage_key
                    WHERE input_key = key AND taking.experiment_id = id)
        OR EXISTS (SELECT FROM stage_input JOIN experiment_stage AS taking ON taking.stage_key = stage_input.stage_key
                   JOIN stage AS taker ON taker.key = taking.stage_key
                   WHERE input_key = stage.key AND taking.experiment_id = id
                       AND taker.state IN ('waiting', 'ready', 'running'))))
""")
UNASKED = text("""
SELECT stage.key FROM stage JOIN experiment_stage ON stage_key = key JOIN experiment ON id = experiment_id
WHERE stage.state IN ('waiting', 'ready') AND experiment.state IN ('queued', 'running')
GROUP BY stage.key
HAVING stage.priority <> max(experiment.priority) OR stage.timeout_seconds <> max(experiment.timeout_seconds)
""")
UNSETTLED = text("""
SELECT id FROM experiment WHERE state IN ('queued', 'running') AND NOT EXISTS (
    SELECT FROM experiment_stage JOIN stage ON key = stage_key
    WHERE experiment_id = id AND stage.state IN ('waiting', 'ready', 'running'))
""")
ALWAYS = {"one owner": ONE_OWNER, "ready too early": READY_TOO_EARLY}
"""At any moment."""
AT_REST = {
    "forgotten": FORGOTTEN,
    "hopeless": HOPELESS,
    "useless": USELESS,
    "not as asked": UNASKED,
    "not settled": UNSETTLED,
}
"""Once nothing moves any more; for a moment they may be seen."""
