"""What MLflow is to hear, written in the same transaction as the fact itself and sent later by ``tracking``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import and_, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from services.db.tables import ExperimentRow, OutboxRow, StageRow

STATUS = {"succeeded": "FINISHED", "failed": "FAILED", "cancelled": "KILLED"}


def opening(reused: Mapping[int, StageRow]) -> list[dict[str, Any]]:
    """Return the rows that open an experiment's parent run; the claim opens those of stages, below their first parent.

    Args:
        reused: stages that were there before, by their place in the plan. Their runs hang below another parent, so
            this one names them in tags.
    """
    rows: list[dict[str, Any]] = [{"kind": "open", "data": {}}]
    if reused:
        tags = {f"reused.{place:03d}": f"{row.label} ({row.key[:12]})" for place, row in reused.items()}
        rows.append({"kind": "status", "data": {"tags": tags}})
    return rows


def reopen_experiment(session: Session, row: ExperimentRow) -> None:
    """Say that an experiment runs again after a retry."""
    _add(session, "status", experiment_id=row.id, data={"status": "RUNNING"})


def add_metrics(session: Session, key: str, step: int, values: Mapping[str, float], milliseconds: int) -> int:
    """Add points of a stage's curves and return how many are new: a step that was told before a resume stays."""
    points = {name: {"value": float(value), "timestamp": milliseconds} for name, value in values.items()}
    return sum(_add(session, "metric", stage_key=key, name=name, step=step, data=data) for name, data in points.items())


def add_results(session: Session, experiment_id: str, values: Mapping[str, float], milliseconds: int) -> None:
    """Add an experiment's final numbers to its parent run."""
    for name, value in values.items():
        data = {"value": float(value), "timestamp": milliseconds}
        _add(session, "metric", experiment_id=experiment_id, name=name, data=data)


def tag_experiment(session: Session, experiment_id: str, **tags: str) -> None:
    """Change tags of an experiment's parent run."""
    _add(session, "status", experiment_id=experiment_id, data={"tags": tags})


def add_artifact(session: Session, key: str, file: str, uri: str) -> None:
    """Hand a file of a stage's output, such as its checkpoint or score file, to the stage's run."""
    _add(session, "artifact", stage_key=key, name=file, data={"uri": uri})


def finish_stage(session: Session, row: StageRow, state: str) -> None:
    """Close a stage's run."""
    _add(session, "status", stage_key=row.key, data={"status": STATUS[state]})


def finish_experiment(session: Session, row: ExperimentRow, state: str) -> None:
    """Close an experiment's parent run."""
    _add(session, "status", experiment_id=row.id, data={"status": STATUS[state]})


def replay(session: Session, experiment_id: str | None = None, stage_key: str | None = None) -> None:
    """Have MLflow told again what it has lost: all that it ever heard of a run, or of every run.

    What it refused stays out, and files whose stage was evicted. Below an experiment's run the stages' runs are opened
    again, to hang below the new one.

    Args:
        session: a transaction of the caller.
        experiment_id: whose run was lost.
        stage_key: or that of which stage; neither means every run.
    """
    evicted = select(StageRow.key).where(StageRow.state == "evicted")
    query = update(OutboxRow).where(
        OutboxRow.delivered_at.is_not(None),
        OutboxRow.error.is_(None),
        or_(OutboxRow.kind != "artifact", OutboxRow.stage_key.not_in(evicted)),
    )
    if experiment_id is not None:
        children = and_(OutboxRow.kind == "open", OutboxRow.data["parent"].astext == experiment_id)
        query = query.where(or_(OutboxRow.experiment_id == experiment_id, children))
    elif stage_key is not None:
        query = query.where(OutboxRow.stage_key == stage_key)
    session.execute(query.values(delivered_at=None, failures=0))


def _add(
    session: Session,
    kind: str,
    *,
    experiment_id: str | None = None,
    stage_key: str | None = None,
    name: str = "",
    step: int = 0,
    data: dict[str, Any],
) -> bool:
    """Add a row and return True, unless it is there."""
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
        .returning(OutboxRow.id)
    )
    return session.scalar(query) is not None
