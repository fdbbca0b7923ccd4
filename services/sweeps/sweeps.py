"""Sweeps as rows: begun, looked at, listed, cancelled."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import extract, func, select, text, tuple_
from sqlalchemy.orm import Session

from services.api_keys import Caller
from services.db.engine import Database
from services.db.swept import LIVE_SWEEPS
from services.db.tables import (
    FINISHED,
    AttemptRow,
    ExperimentRow,
    ExperimentStageRow,
    SweepRow,
    SweepTrialRow,
)
from services.errors import Conflict, InvalidRequest, NotFound
from services.queue import experiments
from services.specs import ExperimentSpec
from services.specs.sweep import SweepSpec
from services.sweeps.space import Space, name_of

LIVE = LIVE_SWEEPS
CURSOR = r"([0-9]{1,16})-(swp_[0-9a-f]{1,36})"
"""Of a sweep: when it was begun, in microseconds since 1970, and its id."""
EPOCH, MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)


@dataclass(frozen=True)
class Begun:
    """A sweep, and whether it is new; else the same idempotency key made it before."""

    row: SweepRow
    created: bool


@dataclass(frozen=True)
class View:
    """A sweep with its trials by number, the experiment of its best one, and what it has taken on GPUs."""

    row: SweepRow
    trials: Sequence[SweepTrialRow]
    best: ExperimentRow | None
    gpu_hours: float

    @property
    def counts(self) -> dict[str, int]:
        """How many trials are in which state."""
        found: dict[str, int] = {}
        for trial in self.trials:
            found[trial.state] = found.get(trial.state, 0) + 1
        return found


@dataclass(frozen=True)
class Page:
    """Some sweeps, newest first, how many there are on all pages, and where the next page begins."""

    items: list[SweepRow]
    next_cursor: str | None
    total: int


def begin(
    session: Session,
    sweep: SweepSpec,
    space: Space,
    *,
    owner: str,
    body_digest: str,
    idempotency_key: str | None = None,
) -> Begun:
    """Write a sweep down; its first trials are submitted by the process that conducts sweeps.

    Args:
        session: a transaction of the caller.
        sweep: what was asked for.
        space: of it, checked.
        owner: whose its experiments will be.
        body_digest: of the request, by which a repeated idempotency key is compared.
        idempotency_key: makes a repeated request harmless.

    Raises:
        Conflict: the idempotency key came before with another body.
    """
    if idempotency_key is not None:
        lock = text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 2))")
        session.execute(lock, {"key": f"{owner}\n{idempotency_key}"})
        query = select(SweepRow).where(SweepRow.owner == owner, SweepRow.idempotency_key == idempotency_key)
        earlier = session.scalar(query)
        if earlier is not None:
            if earlier.body_digest != body_digest:
                raise Conflict(f"Idempotency-Key {idempotency_key!r} was used for sweep {earlier.id} with another body")
            return Begun(earlier, False)
    name = name_of(sweep, space.base)
    axes = {path: axis.model_dump(mode="json", exclude_defaults=True) for path, axis in space.axes.items()}
    row = SweepRow(
        id=f"swp_{int(time.time() * 1000):012x}{secrets.token_hex(4)}",
        name=name,
        owner=owner,
        dataset=space.base.dataset,
        spec=sweep.model_dump(mode="json") | {"name": name, "space": axes},
        base=space.base.model_dump(mode="json") | {"refresh": False},
        recipe=space.recipe,
        idempotency_key=idempotency_key,
        body_digest=body_digest,
    )
    session.add(row)
    session.flush()
    session.refresh(row)
    return Begun(row, True)


def spec_of(row: SweepRow) -> tuple[SweepSpec, Space]:
    """Return what a row says, as it was checked when the sweep was begun."""
    sweep = SweepSpec.model_validate(row.spec)
    return sweep, Space(ExperimentSpec.model_validate(row.base), sweep.space or {}, row.recipe)


def get(session: Session, sweep_id: str) -> SweepRow:
    """Return a sweep, or raise ``NotFound``."""
    row = session.get(SweepRow, sweep_id)
    if row is None:
        raise NotFound("sweep", sweep_id, "twostream sweep list")
    return row


def view(session: Session, sweep_id: str) -> View:
    """Return a sweep with all that is known of it.

    Raises:
        NotFound: no such sweep.
    """
    row = get(session, sweep_id)
    return View(row, trials(session, sweep_id), best_experiment(session, sweep_id), gpu_hours(session, row))


def trials(session: Session, sweep_id: str) -> Sequence[SweepTrialRow]:
    """Return the trials of a sweep by number."""
    query = select(SweepTrialRow).where(SweepTrialRow.sweep_id == sweep_id).order_by(SweepTrialRow.number)
    return session.scalars(query).all()


def best_experiment(session: Session, sweep_id: str) -> ExperimentRow | None:
    """Return the experiment of a sweep's best configuration, once there is one."""
    query = select(ExperimentRow).where(ExperimentRow.sweep_id == sweep_id, ExperimentRow.trial.is_(None))
    return session.scalar(query)


def page(
    session: Session,
    *,
    state: str | None = None,
    dataset: str | None = None,
    owner: str | None = None,
    id_: str | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> Page:
    """Return sweeps, newest first, from where ``cursor`` of the page before says.

    Raises:
        InvalidRequest: the cursor is not one that we gave.
    """
    query, count = select(SweepRow), select(func.count()).select_from(SweepRow)
    conditions = [
        getattr(SweepRow, column) == value
        for column, value in (("state", state), ("dataset", dataset), ("owner", owner))
        if value is not None
    ]
    if id_ is not None:
        conditions.append(SweepRow.id.startswith(id_, autoescape=True))
    query, count = query.where(*conditions), count.where(*conditions)
    if cursor is not None:
        query = query.where(tuple_(SweepRow.created_at, SweepRow.id) < tuple_(*_open_cursor(cursor)))
    rows = list(session.scalars(query.order_by(SweepRow.created_at.desc(), SweepRow.id.desc()).limit(limit + 1)))
    following = (
        f"{(rows[limit - 1].created_at - EPOCH) // MICROSECOND}-{rows[limit - 1].id}" if len(rows) > limit else None
    )
    return Page(rows[:limit], following, session.scalar(count) or 0)


def counts(session: Session, sweep_ids: Sequence[str]) -> dict[str, dict[str, int]]:
    """Return, for each sweep, how many of its trials are in which state."""
    query = (
        select(SweepTrialRow.sweep_id, SweepTrialRow.state, func.count())
        .where(SweepTrialRow.sweep_id.in_(sweep_ids))
        .group_by(SweepTrialRow.sweep_id, SweepTrialRow.state)
    )
    found: dict[str, dict[str, int]] = {sweep_id: {} for sweep_id in sweep_ids}
    for sweep_id, state, count in session.execute(query):
        found[sweep_id][state] = count
    return found


def gpu_hours(session: Session, row: SweepRow) -> float:
    """Return hours of GPUs that the experiments of a sweep held since it began, as `services.queue.hours` counts them.

    A stage of several counts once, and one that held none not at all, whichever worker ran it.
    """
    keys = (
        select(ExperimentStageRow.stage_key)
        .join(ExperimentRow, ExperimentRow.id == ExperimentStageRow.experiment_id)
        .where(ExperimentRow.sweep_id == row.id)
    )
    took = func.coalesce(AttemptRow.finished_at, func.clock_timestamp()) - AttemptRow.started_at
    query = (
        select(func.sum(extract("epoch", took) * AttemptRow.gpus))
        .where(AttemptRow.stage_key.in_(keys))
        .where(AttemptRow.started_at >= row.created_at)
    )
    return float(session.scalar(query) or 0) / 3600


def cancel(database: Database, sweep_id: str, caller: Caller) -> SweepRow:
    """Cancel a sweep: no trial is begun any more, and those that run are cancelled, each in a transaction of its own.

    What is left undone, since the process ends, the conductor does.

    Raises:
        NotFound: no such sweep.
        Forbidden: it belongs to another user.
        Conflict: it has finished.
    """
    row = database.run(lambda session: _mark_cancelling(session, sweep_id, caller))
    cancel_experiments(database, sweep_id)
    return row


def _mark_cancelling(session: Session, sweep_id: str, caller: Caller) -> SweepRow:
    row = locked(session, sweep_id)
    caller.require_owned(f"sweep {sweep_id}", row.owner)
    if row.state not in LIVE:
        raise Conflict(f"sweep {sweep_id} cannot be cancelled: it has {row.state}")
    row.state = "cancelling"
    return row


def cancel_experiments(database: Database, sweep_id: str) -> None:
    """Cancel the experiments of a sweep that run; one that ends meanwhile is left as it is."""
    with database.transaction() as session:
        query = select(ExperimentRow.id).where(ExperimentRow.sweep_id == sweep_id)
        ids = list(session.scalars(query.where(ExperimentRow.state.in_(("queued", "running")))))
    for experiment_id in ids:
        database.run(lambda session, id_=experiment_id: _cancel_one(session, id_))  # type: ignore[misc]


def _cancel_one(session: Session, experiment_id: str) -> None:
    row = session.get(ExperimentRow, experiment_id, with_for_update={"key_share": True})
    if row is not None and row.state not in FINISHED:
        experiments.cancel(session, experiment_id, HOUSE, cause="cancelled", message="its sweep was cancelled")


HOUSE = Caller("twostream", administrator=True)
"""In whose name a sweep ends its own experiments."""


def locked(session: Session, sweep_id: str) -> SweepRow:
    """Return a sweep as it is now, locked; what refers to it is inserted without waiting.

    Raises:
        NotFound: no such sweep.
    """
    query = select(SweepRow).where(SweepRow.id == sweep_id).with_for_update(key_share=True)
    row = session.scalar(query.execution_options(populate_existing=True))
    if row is None:
        raise NotFound("sweep", sweep_id, "twostream sweep list")
    return row


def live(session: Session) -> list[str]:
    """Return the ids of the sweeps that go on, oldest first."""
    return list(session.scalars(select(SweepRow.id).where(SweepRow.state.in_(LIVE)).order_by(SweepRow.created_at)))


def _open_cursor(cursor: str) -> tuple[Any, str]:
    found = re.fullmatch(CURSOR, cursor, re.ASCII)
    if found is None:
        raise InvalidRequest("cursor", cursor, "the `next_cursor` of the page before")
    return EPOCH + int(found[1]) * MICROSECOND, found[2]
