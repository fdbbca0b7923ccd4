"""Whether MLflow takes what it is to hear: written to Postgres by the process that sends, for all who want to know.

Without MLflow's client, which takes seconds to load.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, cast

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from services.db.tables import OutboxRow, TrackerFolderRow, TrackerRow
from services.journal import events

REFRESH_SECONDS = 5.0
"""A success is written down again after so long."""


@dataclass(frozen=True)
class TrackerView:
    """How it stands with MLflow.

    Attributes:
        state: ``held`` while MLflow as a whole takes nothing, so that everything waits; ``ok`` else.
        since: the time of the last change of the state; None before anything was sent.
        message: why everything is held.
        last_success_at: when the sender last had nothing left that could be sent.
        waiting: rows of the outbox that MLflow has not heard.
        oldest_at: when the oldest of them was written.
    """

    state: Literal["ok", "held"]
    since: datetime | None
    message: str | None
    last_success_at: datetime | None
    waiting: int
    oldest_at: datetime | None


def view(session: Session) -> TrackerView:
    """Return how it stands with MLflow: the detail of a readiness answer, which it does not turn into a failure."""
    row = session.get(TrackerRow, 1)
    pending = select(func.count(), func.min(OutboxRow.created_at)).where(OutboxRow.delivered_at.is_(None))
    waiting, oldest_at = session.execute(pending).one()
    if row is None:
        return TrackerView("ok", None, None, None, waiting, oldest_at)
    state = cast("Literal['ok', 'held']", row.state)
    return TrackerView(state, row.since, row.message, row.last_success_at, waiting, oldest_at)


def hold(session: Session, message: str) -> None:
    """Say that everything waits, and why; told as one event, ``mlflow.held``, until it goes on."""
    row = _row(session)
    if row.state != "held":
        row.state, row.since = "held", _now(session)
        events.tell(session, "mlflow.held", error=message)
    row.message = message


def succeed(session: Session) -> None:
    """Say that what could be sent was sent; the end of a hold is told as the event ``mlflow.resumed``."""
    row, now = _row(session), _now(session)
    if row.state != "ok":
        events.tell(session, "mlflow.resumed", held_seconds=round((now - row.since).total_seconds(), 1))
        row.state, row.since, row.message = "ok", now, None
    if row.last_success_at is None or abs((now - row.last_success_at).total_seconds()) > REFRESH_SECONDS:
        row.last_success_at = now


def folders(session: Session) -> dict[str, str]:
    """Return the id of each dataset's MLflow experiment, as far as we know; that of runs of before goes by ``""``."""
    query = select(TrackerFolderRow.dataset, TrackerFolderRow.folder_id)
    return {dataset: folder_id for dataset, folder_id in session.execute(query)}  # noqa: C416 - rows are no pairs to mypy


def remember_folder(session: Session, dataset: str, folder_id: str | None) -> None:
    """Write down the id of the MLflow experiment in which a dataset's runs lie, or that there is none any more."""
    if folder_id is None:
        session.execute(delete(TrackerFolderRow).where(TrackerFolderRow.dataset == dataset))
        return
    query = insert(TrackerFolderRow).values(dataset=dataset, folder_id=folder_id)
    session.execute(query.on_conflict_do_update(index_elements=["dataset"], set_={"folder_id": folder_id}))


def _row(session: Session) -> TrackerRow:
    row = session.get(TrackerRow, 1, with_for_update=True)
    if row is None:
        row = TrackerRow(id=1, state="ok", since=_now(session))
        session.add(row)
    return row


def _now(session: Session) -> datetime:
    now: datetime = session.execute(select(func.clock_timestamp())).scalar_one()
    return now
