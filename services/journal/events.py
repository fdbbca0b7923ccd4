"""What happened, told in an order that no reader can miss a part of."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import and_, func, or_, select, text, tuple_
from sqlalchemy.orm import Session

from services.db.tables import EventRow, ExperimentRow, ExperimentStageRow

POSITION_BITS = 40
"""Bits of an event's number below its transaction's in a position."""


@dataclass(frozen=True)
class EventView:
    """One event; ``id`` is its position, to be given as ``after`` to go on from there."""

    id: int
    type: str
    stage_key: str | None
    attempt: int | None
    data: dict[str, Any]
    created_at: datetime


def tell(
    session: Session,
    type_: str,
    *,
    experiment_id: str | None = None,
    stage_key: str | None = None,
    attempt: int | None = None,
    **data: Any,
) -> None:
    """Add an event of an experiment or a stage."""
    session.add(EventRow(experiment_id=experiment_id, stage_key=stage_key, attempt=attempt, type=type_, data=data))


def after(session: Session, experiment: ExperimentRow, position: int, limit: int) -> list[EventView]:
    """Return the next events of an experiment, of its stages and of the fleet since it was submitted.

    Args:
        session: a transaction of the caller.
        experiment: whose events.
        position: the ``id`` of the last event seen, or 0.
        limit: how many at the most.
    """
    seen = (position >> POSITION_BITS, position & ((1 << POSITION_BITS) - 1))
    stages = select(ExperimentStageRow.stage_key).where(ExperimentStageRow.experiment_id == experiment.id)
    own = select(func.min(EventRow.transaction)).where(EventRow.experiment_id == experiment.id)
    submitted = func.coalesce(own.scalar_subquery(), 0)  # not by time: a database's clock may be set back
    query = (
        select(EventRow)
        .where(
            or_(
                EventRow.experiment_id == experiment.id,
                and_(EventRow.stage_key.in_(stages), EventRow.transaction >= submitted),
                and_(EventRow.experiment_id.is_(None), EventRow.stage_key.is_(None), EventRow.transaction >= submitted),
            ),
            EventRow.transaction < text("pg_snapshot_xmin(pg_current_snapshot())::text::bigint"),
            tuple_(EventRow.transaction, EventRow.id) > tuple_(*seen),
        )
        .order_by(EventRow.transaction, EventRow.id)
        .limit(limit)
    )
    return [
        EventView(
            id=(row.transaction << POSITION_BITS) | row.id,
            type=row.type,
            stage_key=row.stage_key,
            attempt=row.attempt,
            data=row.data,
            created_at=row.created_at,
        )
        for row in session.scalars(query)
    ]
