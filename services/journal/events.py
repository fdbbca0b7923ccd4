"""What happened, told in an order that no reader can miss a part of."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import and_, func, or_, select, text, tuple_
from sqlalchemy.orm import Session

from services.db.tables import EventRow, ExperimentRow, ExperimentStageRow

POSITION_BITS = 40
"""Bits of an event's number below its transaction's in a position."""
SINCE = text("""
SELECT * FROM (
    SELECT event.*, CASE
        WHEN experiment_id IS NULL AND stage_key IS NULL THEN CAST(:asked AS text[])
        ELSE ARRAY(
            SELECT own.experiment_id FROM experiment_stage AS own
            WHERE own.stage_key = event.stage_key AND own.experiment_id = ANY(CAST(:asked AS text[]))
            UNION SELECT event.experiment_id WHERE event.experiment_id = ANY(CAST(:asked AS text[])))
        END AS told
    FROM event WHERE (transaction, id) > (:transaction, :number) AND transaction <= :until
) AS found WHERE told <> '{}' ORDER BY transaction, id LIMIT :limit
""")
"""By the index of all events, so that it costs what came, not how many experiments are asked for."""


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


def position(session: Session) -> int:
    """Return a position after all events that are told by now, and before all that are to come.

    What is read after it in the same transaction is as new or newer.
    """
    earliest = session.scalar(text("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")) or 0
    return max(0, (earliest << POSITION_BITS) - 1)


def after(session: Session, experiment: ExperimentRow, position: int, limit: int) -> list[EventView]:
    """Return the next events of an experiment, of its stages and of the fleet since it was submitted.

    Args:
        session: a transaction of the caller.
        experiment: whose events.
        position: the ``id`` of the last event seen, or 0.
        limit: how many at the most.
    """
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
            tuple_(EventRow.transaction, EventRow.id) > tuple_(*_seen(position).values()),
        )
        .order_by(EventRow.transaction, EventRow.id)
        .limit(limit)
    )
    return [_view(row) for row in session.scalars(query)]


def since(
    session: Session, experiment_ids: Collection[str], position: int, until: int, limit: int
) -> list[tuple[EventView, list[str]]]:
    """Return what some experiments are told between two positions, each event once, with those that it is told to.

    One query reads what came, however many experiments are asked for. All of them were submitted before it came: this
    is for who follows an experiment, and has read by `after` what was there before.

    Args:
        session: a transaction of the caller.
        experiment_ids: whose events, those of their stages, and those of the fleet.
        position: of the last event seen.
        until: a `position` that was read before, up to which all is told.
        limit: how many at the most.
    """
    values = {"asked": sorted(experiment_ids), "until": until >> POSITION_BITS, "limit": limit, **_seen(position)}
    return [(_view(row), row.told) for row in session.execute(SINCE, values)]


def _seen(position: int) -> dict[str, int]:
    """Return the transaction and the number of an event by its position."""
    return {"transaction": position >> POSITION_BITS, "number": position & ((1 << POSITION_BITS) - 1)}


def _view(row: Any) -> EventView:
    return EventView(
        id=(row.transaction << POSITION_BITS) | row.id,
        type=row.type,
        stage_key=row.stage_key,
        attempt=row.attempt,
        data=row.data,
        created_at=row.created_at,
    )
