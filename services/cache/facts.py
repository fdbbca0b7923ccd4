"""What the database says of stages and their outputs: who needs them, and when they were last of use."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, func, select, true
from sqlalchemy.orm import InstrumentedAttribute, Session

from services.db.tables import (
    AttemptRow,
    ExperimentRow,
    ExperimentStageRow,
    OutboxRow,
    StageInputRow,
    StageRow,
)
from services.queue.graph import LIVE, UNFINISHED
from services.stages import KINDS, StageKind

FLOW: tuple[StageKind, ...] = tuple(name for name, kind in KINDS.items() if kind.category == "flow")


@dataclass(frozen=True)
class StageFacts:
    """A stage as far as its output is concerned; ``held`` says why it must stay, if it must."""

    key: str
    kind: StageKind
    label: str
    params: dict[str, Any]
    state: str
    output: str | None
    started_at: datetime | None
    used_at: datetime
    experiments: tuple[str, ...]
    held: str | None


def gather(session: Session, *, tracked: bool) -> dict[str, StageFacts]:
    """Return every stage that was ever started or waits to be.

    Args:
        session: a transaction of the caller.
        tracked: whether outputs are sent to MLflow too.
    """
    named = (StageRow.key, StageRow.kind, StageRow.label, StageRow.params, StageRow.state, StageRow.output)
    columns = (*named, StageRow.started_at, func.coalesce(StageRow.finished_at, StageRow.created_at).label("made_at"))
    read, wanted = _last_read(session), _last_wanted(session)
    live, held = _live_experiments(session), why_held(session, tracked=tracked)
    found = {}
    for row in session.execute(select(*columns)):
        times = (row.made_at, read.get(row.key), wanted.get(row.key))
        found[row.key] = StageFacts(
            key=row.key,
            kind=row.kind,
            label=row.label,
            params=row.params,
            state=row.state,
            output=row.output,
            started_at=row.started_at,
            used_at=max(time for time in times if time is not None),
            experiments=tuple(sorted(live.get(row.key, ()))),
            held=held.get(row.key),
        )
    return found


def why_held(session: Session, keys: Collection[str] | None = None, *, tracked: bool) -> dict[str, str]:
    """Return the reasons why outputs must stay, for those that must.

    An output stays while a stage that waits, is ready or runs has it as an input, while such a flow stage would find
    its clips there, and until MLflow has its files. Scores that a user brought stay always: nothing makes them again.

    Args:
        session: a transaction of the caller, who holds locks on ``keys`` to be sure.
        keys: stages to ask for; all of them when None.
        tracked: whether outputs are sent to MLflow too.
    """
    held: dict[str, str] = {}
    if tracked:
        pending = (OutboxRow.kind == "artifact", OutboxRow.delivered_at.is_(None), _among(OutboxRow.stage_key, keys))
        for key in session.scalars(select(OutboxRow.stage_key).where(*pending)):
            held[key or ""] = "MLflow has yet to be handed its files"
    held |= _equal_flow(session, keys)
    brought = (StageRow.kind == "score", StageRow.params.has_key("uploaded"), _among(StageRow.key, keys))
    held |= dict.fromkeys(session.scalars(select(StageRow.key).where(*brought)), "a user brought it")
    query = (
        select(StageInputRow.input_key, StageRow.label, StageRow.state)
        .join(StageRow, StageRow.key == StageInputRow.stage_key)
        .where(StageRow.state.in_(UNFINISHED), _among(StageInputRow.input_key, keys))
        .order_by(StageRow.label.desc())
    )
    return held | {key: f"needed by {label} ({state})" for key, label, state in session.execute(query)}


def _equal_flow(session: Session, keys: Collection[str] | None) -> dict[str, str]:
    """Return the finished flow whose clips an unfinished flow stage, cut into other shards perhaps, would find."""
    waiting = {
        _method(kind, params, index): f"{label} ({state}) may use its clips"
        for _, kind, params, label, state, index in _flow_stages(session, StageRow.state.in_(UNFINISHED))
    }
    if not waiting:
        return {}
    finished = _flow_stages(session, (StageRow.state == "succeeded") & _among(StageRow.key, keys))
    methods = {key: _method(kind, params, index) for key, kind, params, _, _, index in finished}
    return {key: waiting[method] for key, method in methods.items() if method in waiting}


def _flow_stages(session: Session, condition: ColumnElement[bool]) -> list[tuple[Any, ...]]:
    columns = (StageRow.key, StageRow.kind, StageRow.params, StageRow.label, StageRow.state, StageInputRow.input_key)
    query = select(*columns).join(StageInputRow, StageInputRow.stage_key == StageRow.key)
    return [tuple(row) for row in session.execute(query.where(StageRow.kind.in_(FLOW), condition))]


def _method(kind: str, params: Mapping[str, Any], index: str) -> str:
    same = {name: value for name, value in params.items() if name not in ("shard", "shards")}
    return json.dumps([kind, same, index], sort_keys=True)


def _last_read(session: Session) -> dict[str, datetime]:
    """Return when an attempt last had an output as its input."""
    last = func.max(func.coalesce(AttemptRow.finished_at, AttemptRow.started_at))
    query = select(StageInputRow.input_key, last).join(AttemptRow, AttemptRow.stage_key == StageInputRow.stage_key)
    return {key: time for key, time in session.execute(query.group_by(StageInputRow.input_key))}  # noqa: C416 - rows


def _last_wanted(session: Session) -> dict[str, datetime]:
    """Return when an experiment was last submitted that has a stage in its plan."""
    query = select(ExperimentStageRow.stage_key, func.max(ExperimentRow.created_at)).join(
        ExperimentRow, ExperimentRow.id == ExperimentStageRow.experiment_id
    )
    return {key: time for key, time in session.execute(query.group_by(ExperimentStageRow.stage_key))}  # noqa: C416


def _live_experiments(session: Session) -> dict[str, list[str]]:
    query = (
        select(ExperimentStageRow.stage_key, ExperimentRow.id)
        .join(ExperimentRow, ExperimentRow.id == ExperimentStageRow.experiment_id)
        .where(ExperimentRow.state.in_((*LIVE, "cancelling")))
    )
    found: dict[str, list[str]] = defaultdict(list)
    for key, id_ in session.execute(query):
        found[key].append(id_)
    return found


def _among(column: InstrumentedAttribute[Any], keys: Collection[str] | None) -> ColumnElement[bool]:
    return true() if keys is None else column.in_(keys)
