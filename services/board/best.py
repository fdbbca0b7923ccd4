"""What an experiment reached, and the boards that it leads since it ended."""

from __future__ import annotations

from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from services.metrics import PRIMARY

REACHED = text("""
SELECT result.stream, coalesce(result.split::text, 'mean') AS split, value
FROM result JOIN result_value ON result_id = result.id AND metric = :metric
WHERE experiment_id = :id AND seed IS NULL
ORDER BY result.stream, result.split NULLS LAST
""")
LEADS = text("""
SELECT own.stream, own.split, own.value, second.value AS before, line AS protocol
FROM result JOIN result_value AS own ON own.result_id = result.id AND own.metric = :metric
JOIN protocol ON digest = own.protocol
CROSS JOIN LATERAL (
    SELECT value, merit FROM result_value AS other
    WHERE other.dataset = own.dataset AND other.stream = own.stream AND other.split = own.split
        AND other.metric = own.metric AND other.revision = own.revision AND other.protocol = own.protocol
        AND other.result_id <> own.result_id
    ORDER BY other.merit DESC LIMIT 1
) AS second
WHERE experiment_id = :id AND seed IS NULL AND own.dataset IS NOT NULL AND own.merit > second.merit
ORDER BY own.stream, own.split
""")


def reached(session: Session, experiment_id: str) -> dict[str, float]:
    """Return the primary metric by ``stream.split``, of means over seeds; the mean over splits is ``stream.mean``."""
    found = session.execute(REACHED, {"id": experiment_id, "metric": PRIMARY})
    return {f"{row.stream}.{row.split}": row.value for row in found}


def leads(session: Session, experiment_id: str) -> list[dict[str, Any]]:
    """Return the boards of the primary metric on which an experiment is better than all others that are there."""
    found = session.execute(LEADS, {"id": experiment_id, "metric": PRIMARY})
    return [
        {
            "stream": row.stream,
            "split": row.split or "mean",
            "metric": PRIMARY,
            "value": row.value,
            "before": row.before,
            "protocol": row.protocol,
        }
        for row in found
    ]
