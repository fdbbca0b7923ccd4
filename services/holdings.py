"""What stages have left of a dataset: its flow and its features, and what they take on disk."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

# Kinds stand here as they are, not as values: only so does Postgres see that the index of `ix_stage_data` is enough.
HELD = text("""
SELECT split_part(made.label, ',', 1) AS what, count(*) FILTER (WHERE made.state = 'succeeded') AS outputs,
       count(*) FILTER (WHERE made.state = 'evicted') AS evicted,
       count(*) FILTER (WHERE made.state IN ('waiting', 'ready', 'running')) AS unfinished,
       sum(attempt.disk_bytes) FILTER (WHERE made.state = 'succeeded')::bigint AS bytes,
       max(made.finished_at) AS made_at
FROM stage AS made
LEFT JOIN attempt ON attempt.stage_key = made.key AND attempt.number = made.attempt
WHERE made.kind IN ('flow', 'gpu_flow', 'extract')
AND made.state IN ('succeeded', 'evicted', 'waiting', 'ready', 'running')
AND EXISTS (
    SELECT FROM stage_input JOIN stage AS source ON source.key = stage_input.input_key
    WHERE stage_input.stage_key = made.key AND source.kind = 'index' AND source.params ->> 'dataset' = :dataset
)
GROUP BY what ORDER BY what
""")


@dataclass(frozen=True)
class Holding:
    """Outputs of one sort, such as those of ``flow tvl1`` or ``extract resnet101 rgb``.

    Attributes:
        outputs: how many there are; flow has one a shard.
        evicted: how many were made and collected since.
        unfinished: how many are waited for.
        bytes: what those that are there take, as far as their attempts have said.
        made_at: when the last one was made.
    """

    what: str
    outputs: int
    evicted: int
    unfinished: int
    bytes: int | None
    made_at: datetime | None


def of_dataset(session: Session, name: str) -> list[Holding]:
    """Return the flow and the features of a dataset's clips, of all revisions, by what made them."""
    return [Holding(*row) for row in session.execute(HELD, {"dataset": name})]
