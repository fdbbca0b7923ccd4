"""What MLflow is to hear, written in the same transaction as the fact itself and sent later by ``tracking``.

A row's own time is that of the fact: runs begin and end with it, whenever MLflow hears of them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import and_, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from services.db.tables import ExperimentRow, OutboxRow, PaperRow, StageRow

FORGET = "forget"
"""Kind of the rows by which runs of deleted experiments are deleted; the name is the experiment's id."""
STATUS = {"succeeded": "FINISHED", "failed": "FAILED", "cancelled": "KILLED"}
RESULTS_FILE = "results.json"
EXHIBITS = (RESULTS_FILE, "confusion.png", "learning.png")
"""Files that the run of an experiment gets, made of what Postgres holds of it when they are sent."""


def opening(reused: Mapping[int, StageRow], sweep: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """Return the rows that open an experiment's parent run; the claim opens those of stages, below their first parent.

    Args:
        reused: stages that were there before, by their place in the plan. Their runs hang below another parent, so
            this one names them in tags.
        sweep: ``id`` and ``name`` of the sweep below whose run this one hangs.
    """
    rows: list[dict[str, Any]] = [{"kind": "open", "data": {} if sweep is None else {"sweep": dict(sweep)}}]
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


def add_measured(session: Session, key: str, summary: Mapping[str, Any]) -> None:
    """Add the numbers of a stage that measures to its run: those of its summary, and those of each of its results.

    The result that stands last is the whole system's, whose metrics go by their bare names as well.
    """
    found = dict(_numbers(summary))
    for entry in summary.get("results", []):
        metrics = dict(_numbers(entry["metrics"]))
        found |= {f"{entry['stream']}.{name}": value for name, value in metrics.items()} | metrics
    add_metrics(session, key, 0, found, int(time.time() * 1000))


def _numbers(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, float]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{prefix}{name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            yield f"{prefix}{name}", float(value)


def add_results(session: Session, experiment_id: str, values: Mapping[str, float], milliseconds: int) -> None:
    """Add an experiment's final numbers to its parent run."""
    for name, value in values.items():
        data = {"value": float(value), "timestamp": milliseconds}
        _add(session, "metric", experiment_id=experiment_id, name=name, data=data)


def add_exhibits(session: Session, experiment_id: str) -> None:
    """Have an experiment's parent run get its results as a file, and as pictures those that it has."""
    for name in EXHIBITS:
        _add(session, "artifact", experiment_id=experiment_id, name=name, data={"exhibit": name})


def tag_experiment(session: Session, experiment_id: str, **tags: str) -> None:
    """Change tags of an experiment's parent run."""
    _add(session, "status", experiment_id=experiment_id, data={"tags": tags})


def tag_papers(session: Session, experiment_id: str) -> None:
    """Tag an experiment's parent run anew with the rows of papers' tables behind which it stands."""
    found = session.scalars(select(PaperRow).where(PaperRow.experiment_id == experiment_id))
    tag_experiment(session, experiment_id, **paper_tags(found))


def paper_tags(rows: Iterable[PaperRow]) -> dict[str, str]:
    """Return in which rows of which tables of which papers an experiment stands; of several each name once."""
    found = list(rows)
    named = {"paper": "paper", "table": "table_name", "row": "row"}
    return {tag: "; ".join(sorted({getattr(row, field) for row in found})) for tag, field in named.items()}


def protocol_tag(lines: Mapping[str, str]) -> str:
    """Return the line by which all streams are measured, or of each its own where they differ."""
    apart = dict.fromkeys(lines.values())
    return next(iter(apart), "") if len(apart) < 2 else "; ".join(f"{name}: {line}" for name, line in lines.items())


def describe_experiment(session: Session, row: ExperimentRow) -> None:
    """Give an experiment's parent run its name, tags and note; the note is its description in MLflow too."""
    tags = {
        "name": row.name,
        "tags": ", ".join(row.tags),
        "note": row.note,
        "archived": str(row.archived_at is not None),
    }
    own = {"mlflow.runName": row.name, "mlflow.note.content": row.note}
    _add(session, "status", experiment_id=row.id, data={"tags": tags, "own_tags": own})


def forget_experiment(session: Session, row: ExperimentRow) -> None:
    """Have the parent run of an experiment deleted that is about to be: it speaks of no experiment any more."""
    _add(session, FORGET, name=row.id, data={"dataset": row.dataset, "folder": row.mlflow_folder_id})


def add_artifact(session: Session, key: str, file: str, uri: str) -> None:
    """Hand a file of a stage's output, such as its checkpoint or score file, to the stage's run."""
    _add(session, "artifact", stage_key=key, name=file, data={"uri": uri})


def finish_stage(session: Session, row: StageRow, state: str) -> None:
    """Close a stage's run."""
    _add(session, "status", stage_key=row.key, data={"status": STATUS[state]})


def finish_experiment(session: Session, row: ExperimentRow, state: str) -> None:
    """Close an experiment's parent run."""
    _add(session, "status", experiment_id=row.id, data={"status": STATUS[state]})


def finish_sweep(session: Session, experiment_id: str, sweep: Mapping[str, str], state: str, **tags: str) -> None:
    """Close the run of a sweep; it is told after what one of its experiments tells, which has opened it."""
    status = {"status": STATUS[state], "tags": tags}
    _add(session, "status", experiment_id=experiment_id, data={"sweep": dict(sweep), **status})


def replay(
    session: Session, experiment_id: str | None = None, stage_key: str | None = None, folder_id: str | None = None
) -> None:
    """Have MLflow told again what it has lost: all that it ever heard of a run, or of every run in an experiment there.

    What it refused stays out, and files whose stage was evicted. Below an experiment's run the stages' runs are opened
    again, to hang below the new one.

    Args:
        session: a transaction of the caller.
        experiment_id: whose run was lost.
        stage_key: or that of which stage.
        folder_id: or those of which experiment of MLflow.
    """
    evicted = select(StageRow.key).where(StageRow.state == "evicted")
    query = update(OutboxRow).where(
        OutboxRow.delivered_at.is_not(None),
        OutboxRow.error.is_(None),
        or_(OutboxRow.kind != "artifact", OutboxRow.stage_key.is_(None), OutboxRow.stage_key.not_in(evicted)),
    )
    parent = OutboxRow.data["parent"].astext
    if experiment_id is not None:
        children = and_(OutboxRow.kind == "open", parent == experiment_id)
        query = query.where(or_(OutboxRow.experiment_id == experiment_id, children))
    elif stage_key is not None:
        query = query.where(OutboxRow.stage_key == stage_key)
    else:
        there = select(ExperimentRow.id).where(ExperimentRow.mlflow_folder_id == folder_id)
        below = select(OutboxRow.stage_key).where(OutboxRow.kind == "open", parent.in_(there))
        query = query.where(or_(OutboxRow.experiment_id.in_(there), OutboxRow.stage_key.in_(below)))
    session.execute(query.values(delivered_at=None, failures=0).execution_options(synchronize_session=False))


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
