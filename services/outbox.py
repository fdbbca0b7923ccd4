"""What MLflow is to hear, written in the same transaction as the fact itself and sent later by ``tracking``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import func
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from services.db.tables import ExperimentRow, OutboxRow, StageRow

STATUS = {"succeeded": "FINISHED", "failed": "FAILED", "cancelled": "KILLED"}


def open_experiment(session: Session, row: ExperimentRow) -> None:
    """Open an experiment's parent run; its spec becomes parameters."""
    data = {"name": row.name, "params": flatten(row.spec), "tags": {"owner": row.owner, "recipe": row.recipe or ""}}
    _add(session, "open", experiment_id=row.id, data=data)


def open_stage(session: Session, row: StageRow, experiment_id: str) -> None:
    """Open a stage's child run below the experiment for which it first runs; its parameters are the run's."""
    params = row.params
    tags = {
        "kind": row.kind,
        "split": str(params.get("split") or ""),
        "stream": "+".join(params.get("streams") or [params.get("stream") or ""]),
        "seed": "" if params.get("seed") is None else str(params["seed"]),
    }
    data = {"name": row.label, "params": flatten(params), "tags": tags, "parent": experiment_id}
    _add(session, "open", stage_key=row.key, data=data)


def tag_attempt(session: Session, row: StageRow) -> None:
    """Say in a stage's run which attempt now runs, and where."""
    tags = {"attempt": str(row.attempt), "worker": row.worker_id or ""}
    _add(session, "status", stage_key=row.key, data={"status": "RUNNING", "tags": tags})


def reopen_experiment(session: Session, row: ExperimentRow) -> None:
    """Say that an experiment runs again after a retry."""
    _add(session, "status", experiment_id=row.id, data={"status": "RUNNING"})


def add_metrics(session: Session, key: str, step: int, values: Mapping[str, float], milliseconds: int) -> None:
    """Add points of a stage's curves; a step that was already told (before a resume) is not told twice."""
    for name, value in values.items():
        data = {"value": float(value), "timestamp": milliseconds}
        _add(session, "metric", stage_key=key, name=name, step=step, data=data)


def add_results(session: Session, experiment_id: str, values: Mapping[str, float], milliseconds: int) -> None:
    """Add an experiment's final numbers to its parent run."""
    for name, value in values.items():
        data = {"value": float(value), "timestamp": milliseconds}
        _add(session, "metric", experiment_id=experiment_id, name=name, data=data)


def add_artifact(session: Session, key: str, file: str, uri: str) -> None:
    """Hand a file of a stage's output, such as its checkpoint or score file, to the stage's run."""
    _add(session, "artifact", stage_key=key, name=file, data={"uri": uri})


def tag_reused(session: Session, experiment_id: str, rows: Mapping[int, StageRow]) -> None:
    """Name the stages that were there before in the parent run, since their child runs hang below another experiment.

    Args:
        session: a transaction of the caller.
        experiment_id: the parent.
        rows: reused stages by their place in its plan.
    """
    if rows:
        tags = {f"reused.{place:03d}": f"{row.label} ({row.key[:12]})" for place, row in rows.items()}
        _add(session, "status", experiment_id=experiment_id, data={"tags": tags})


def finish_stage(session: Session, row: StageRow, state: str) -> None:
    """Close a stage's run."""
    _add(session, "status", stage_key=row.key, data={"status": STATUS[state]})


def finish_experiment(session: Session, row: ExperimentRow, state: str) -> None:
    """Close an experiment's parent run."""
    _add(session, "status", experiment_id=row.id, data={"status": STATUS[state]})


def flatten(value: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return nested settings as flat ``a.b.c`` names with text values, the same names for every model."""
    flat: dict[str, str] = {}
    for name, entry in value.items():
        if isinstance(entry, Mapping):
            flat |= flatten(entry, f"{prefix}{name}.")
        else:
            text = ",".join(map(str, entry)) if isinstance(entry, list | tuple) else str(entry)
            flat[f"{prefix}{name}"] = text[:6000]
    return flat


def _add(
    session: Session,
    kind: str,
    *,
    experiment_id: str | None = None,
    stage_key: str | None = None,
    name: str = "",
    step: int = 0,
    data: dict[str, Any],
) -> None:
    query = (
        insert(OutboxRow)
        .values(
            experiment_id=experiment_id,
            stage_key=stage_key,
            kind=kind,
            name=name,
            step=step,
            data=data,
            created_at=func.clock_timestamp(),
        )
        .on_conflict_do_nothing()
    )
    session.execute(query)
