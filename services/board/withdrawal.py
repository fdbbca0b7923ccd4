"""Results that were withdrawn: the boards rank them no more, and say which they are and why."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from services.metrics import of_boxes

MOST = 100
"""That a page of a board names, the last ones first."""
MARK = text("UPDATE result SET withdrawn = :withdrawn WHERE experiment_id = :id AND withdrawn <> :withdrawn")
HIDE = text("""
UPDATE result_value AS value SET dataset = NULL, stream = NULL, split = NULL, revision = NULL, protocol = NULL,
    model = NULL, source = NULL, seeds = NULL
FROM result WHERE result.id = value.result_id AND result.experiment_id = :id AND value.dataset IS NOT NULL
""")
SHOW = text("""
UPDATE result_value AS value SET dataset = result.dataset, stream = result.stream, split = coalesce(result.split, 0),
    revision = result.revision, model = result.model, seeds = result.seeds,
    protocol = CASE WHEN metric = ANY(CAST(:boxes AS text[])) THEN box_protocol ELSE result.protocol END,
    source = CASE WHEN uploaded THEN 'uploaded' WHEN result.source = 'ensemble' THEN 'ensemble' ELSE 'trained' END
FROM result WHERE result.id = value.result_id AND result.experiment_id = :id AND result.seed IS NULL
""")
LISTING = text(f"""
SELECT experiment.id AS experiment_id, result.name, value, withdrawn_reason AS reason, withdrawn_by AS by,
    withdrawn_at AS at
FROM result JOIN experiment ON experiment.id = result.experiment_id
LEFT JOIN result_value ON result_value.result_id = result.id AND metric = :metric
WHERE result.withdrawn AND result.dataset = :dataset AND result.stream = :stream AND result.revision = :revision
    AND coalesce(result.split, 0) = :split AND result.seed IS NULL
    AND (CASE WHEN :of_boxes THEN box_protocol ELSE result.protocol END) = ANY(
        coalesce(CAST(:protocols AS text[]), ARRAY[box_protocol, result.protocol]))
ORDER BY withdrawn_at DESC, experiment.id LIMIT {MOST}
""")  # noqa: S608 - of fixed parts; values are bound


@dataclass(frozen=True)
class Withdrawn:
    """An entry that a board would rank; ``value`` is None where a split was missing."""

    experiment_id: str
    name: str
    value: float | None
    reason: str
    by: str
    at: datetime


def hide(session: Session, experiment_id: str) -> None:
    """Take the results of an experiment off the boards."""
    session.execute(MARK, {"id": experiment_id, "withdrawn": True})
    session.execute(HIDE, {"id": experiment_id})


def show(session: Session, experiment_id: str) -> None:
    """Put them back."""
    session.execute(MARK, {"id": experiment_id, "withdrawn": False})
    session.execute(SHOW, {"id": experiment_id, "boxes": list(of_boxes())})


def listing(
    session: Session, key: dict[str, Any], revision: int, protocols: Collection[str] | None
) -> tuple[Withdrawn, ...]:
    """Return what was withdrawn from a board, the latest first.

    Args:
        session: a transaction of the caller.
        key: dataset, stream, split (0 for the mean) and metric.
        revision: of the dataset.
        protocols: that are ranked; None where none is.
    """
    found: dict[str, Any] = {"revision": revision, "protocols": None if protocols is None else list(protocols)}
    found["of_boxes"] = key["metric"] in of_boxes()  # these are ranked by a protocol of their own
    return tuple(Withdrawn(**row) for row in session.execute(LISTING, key | found).mappings())
