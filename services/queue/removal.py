"""Deleting experiments: their results go, stages stay for who shares them until the cache is collected."""

from __future__ import annotations

from sqlalchemy import delete as delete_from
from sqlalchemy import select
from sqlalchemy.orm import Session

from services.api_keys import Caller
from services.db.swept import LIVE_SWEEPS
from services.db.tables import FINISHED, DeletedExperimentRow, ExperimentNeedRow, ExperimentRow, SweepRow
from services.errors import Conflict
from services.journal import outbox
from services.queue import experiments

NAMED = 5
"""Experiments that a refusal names."""


def delete(session: Session, experiment_id: str, caller: Caller) -> DeletedExperimentRow:
    """Delete an experiment, with its results, events and what MLflow has yet to hear of it.

    Whoever refers to it meanwhile either came first, and is named, or finds that it is gone. Its run in MLflow is
    deleted too.

    Raises:
        NotFound: no such experiment.
        Forbidden: it belongs to another user.
        Conflict: it has not finished, other experiments need it, or the sweep that submitted it goes on.
    """
    row = experiments.lock_owned(session, experiment_id, caller, whole=True)
    if row.state not in FINISHED:
        raise Conflict(f"experiment {row.id} cannot be deleted: it is {row.state}; hint: cancel it first")
    _require_no_sweep(session, row)
    if needing := _needing(session, row.id):
        named = ", ".join(f"{name} ({id_})" for id_, name in needing[:NAMED])
        more = " and more" if len(needing) > NAMED else ""
        raise Conflict(f"experiment {row.id} cannot be deleted: needed by {named}{more}; hint: delete those first")
    gone = DeletedExperimentRow(
        id=row.id,
        name=row.name,
        owner=row.owner,
        dataset=row.dataset,
        idempotency_key=row.idempotency_key,
        deleted_by=caller.name,
    )
    session.add(gone)
    outbox.forget_experiment(session, row)
    session.execute(delete_from(ExperimentRow).where(ExperimentRow.id == row.id))
    session.expunge(row)
    session.flush()
    session.refresh(gone)
    return gone


def _require_no_sweep(session: Session, row: ExperimentRow) -> None:
    """Refuse to delete what a sweep that goes on has yet to read, or to end with."""
    sweep = None if row.sweep_id is None else session.get_one(SweepRow, row.sweep_id)
    if sweep is not None and sweep.state in LIVE_SWEEPS:
        part = "the best configuration" if row.trial is None else f"trial {row.trial}"
        why = f"it is {part} of sweep {sweep.name} ({sweep.id}), which is {sweep.state}"
        hint = f"hint: twostream sweep cancel {sweep.id}"
        raise Conflict(f"experiment {row.id} cannot be deleted: {why}; {hint}, or wait for its end")


def _needing(session: Session, experiment_id: str) -> list[tuple[str, str]]:
    """Return id and name of experiments that have another one as a member, or start from its weights."""
    query = (
        select(ExperimentRow.id, ExperimentRow.name)
        .join(ExperimentNeedRow, ExperimentNeedRow.experiment_id == ExperimentRow.id)
        .where(ExperimentNeedRow.needed_id == experiment_id)
        .order_by(ExperimentRow.created_at, ExperimentRow.id)
    )
    return [(id_, name) for id_, name in session.execute(query.limit(NAMED + 1))]
