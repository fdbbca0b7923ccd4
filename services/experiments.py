"""Experiments: submitted, looked at, cancelled, tried again."""

from __future__ import annotations

import base64
import json
import re
import secrets
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from services import events, graph, outbox, registry
from services.db.tables import AttemptRow, ExperimentRow, ExperimentStageRow, StageInputRow, StageRow
from services.errors import Conflict, InvalidRequest, NotFound
from services.plan import PlannedStage, plan
from services.specs import ExperimentSpec

MAX_PAGE = 200


@dataclass(frozen=True)
class Created:
    """A new experiment, or the one that the same idempotency key made before; ``queues`` counts new work."""

    row: ExperimentRow
    created: bool
    queues: Mapping[str, int]


@dataclass(frozen=True)
class Retried:
    """An experiment that runs again; ``queues`` counts new work."""

    row: ExperimentRow
    queues: Mapping[str, int]


@dataclass(frozen=True)
class Page:
    """Some experiments, newest first, and where the next page begins."""

    items: list[ExperimentRow]
    next_cursor: str | None


@dataclass(frozen=True)
class StageView:
    """A stage in the plan of one experiment."""

    row: StageRow
    reused: bool
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class AttemptLog:
    """The end of what one attempt wrote to its log."""

    stage_key: str
    label: str
    number: int
    state: str
    text: str


def create(
    session: Session,
    spec: ExperimentSpec,
    *,
    owner: str,
    body_digest: str,
    recipe: str | None = None,
    idempotency_key: str | None = None,
) -> Created:
    """Store an experiment and its plan; stages that exist are shared, finished or not.

    Raises:
        InvalidRequest: no dataset has that name, or it lacks a split.
        Conflict: the idempotency key came before with another body.
    """
    index = registry.index_params_for(session, spec)
    row = ExperimentRow(
        id=f"exp_{int(time.time() * 1000):012x}{secrets.token_hex(4)}",
        name=spec.name,
        owner=owner,
        dataset=spec.dataset,
        spec=spec.model_dump(mode="json"),
        recipe=recipe,
        state="queued",
        priority=spec.priority,
        idempotency_key=idempotency_key,
        body_digest=body_digest,
    )
    if idempotency_key is not None:
        earlier = _claim_key(session, owner, idempotency_key, body_digest)
        if earlier is not None:
            return Created(earlier, created=False, queues={})
    queues = _store_plan(session, row, spec, plan(spec, index))
    if not queues:  # all of it may be there already
        graph.settle(session, [row])
    return Created(row, created=True, queues=queues)


def get(session: Session, experiment_id: str) -> ExperimentRow:
    """Return an experiment, or raise ``NotFound``."""
    row = session.get(ExperimentRow, experiment_id)
    if row is None:
        raise NotFound("experiment", experiment_id)
    return row


def page(
    session: Session,
    *,
    state: str | None = None,
    dataset: str | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> Page:
    """Return experiments, newest first, from where ``cursor`` of the page before says.

    Raises:
        InvalidRequest: the cursor is not one that we gave.
    """
    query = select(ExperimentRow).order_by(ExperimentRow.created_at.desc(), ExperimentRow.id.desc())
    if state is not None:
        query = query.where(ExperimentRow.state == state)
    if dataset is not None:
        query = query.where(ExperimentRow.dataset == dataset)
    if cursor is not None:
        query = query.where(tuple_(ExperimentRow.created_at, ExperimentRow.id) < tuple_(*_open_cursor(cursor)))
    rows = list(session.scalars(query.limit(limit + 1)))
    more = len(rows) > limit
    return Page(rows[:limit], _make_cursor(rows[limit - 1]) if more else None)


def stages(session: Session, experiment_id: str) -> list[StageView]:
    """Return the stages of an experiment in the order of its plan."""
    get(session, experiment_id)
    query = (
        select(StageRow, ExperimentStageRow.reused)
        .join(ExperimentStageRow, ExperimentStageRow.stage_key == StageRow.key)
        .where(ExperimentStageRow.experiment_id == experiment_id)
        .order_by(ExperimentStageRow.position)
    )
    found = [(row, reused) for row, reused in session.execute(query)]
    inputs: dict[str, list[str]] = {}
    edges = select(StageInputRow).where(StageInputRow.stage_key.in_([row.key for row, _ in found]))
    for edge in session.scalars(edges.order_by(StageInputRow.position)):
        inputs.setdefault(edge.stage_key, []).append(edge.input_key)
    return [StageView(row, reused, tuple(inputs.get(row.key, ()))) for row, reused in found]


def counts(session: Session, experiment_ids: Collection[str]) -> dict[str, dict[str, int]]:
    """Return, for each experiment, how many of its stages are in which state."""
    query = (
        select(ExperimentStageRow.experiment_id, StageRow.state, func.count())
        .join(StageRow, StageRow.key == ExperimentStageRow.stage_key)
        .where(ExperimentStageRow.experiment_id.in_(experiment_ids))
        .group_by(ExperimentStageRow.experiment_id, StageRow.state)
    )
    found: dict[str, dict[str, int]] = {experiment_id: {} for experiment_id in experiment_ids}
    for experiment_id, state, count in session.execute(query):
        found[experiment_id][state] = count
    return found


def events_after(session: Session, experiment_id: str, after: int, limit: int) -> list[events.EventView]:
    """Return the events of an experiment and its stages that follow position ``after``."""
    return events.after(session, get(session, experiment_id), after, limit)


def logs(session: Session, experiment_id: str) -> list[AttemptLog]:
    """Return the log of every attempt at a stage of the experiment, in the order of the plan."""
    get(session, experiment_id)
    query = (
        select(AttemptRow, StageRow.label)
        .join(StageRow, StageRow.key == AttemptRow.stage_key)
        .join(ExperimentStageRow, ExperimentStageRow.stage_key == StageRow.key)
        .where(ExperimentStageRow.experiment_id == experiment_id)
        .order_by(ExperimentStageRow.position, AttemptRow.number)
    )
    return [
        AttemptLog(row.stage_key, label, row.number, row.state, row.log or "") for row, label in session.execute(query)
    ]


def cancel(session: Session, experiment_id: str) -> ExperimentRow:
    """Cancel an experiment; stages that others need go on, running ones of its own are stopped by their workers.

    Raises:
        NotFound: no such experiment.
        Conflict: it has finished.
    """
    row = _lock(session, experiment_id)
    if row.state in ("succeeded", "failed", "cancelled"):
        raise Conflict(f"experiment {experiment_id} cannot be cancelled: it has {row.state}")
    row.state = "cancelling"
    events.tell(session, "experiment.cancelling", experiment_id=row.id)
    session.flush()
    graph.cancel_unneeded(session, row)
    graph.settle(session, [row])
    return row


def retry(session: Session, experiment_id: str) -> Retried:
    """Run the failed and cancelled stages of an experiment again; finished ones are kept.

    Raises:
        NotFound: no such experiment.
        Conflict: it has neither failed nor been cancelled.
    """
    row = _lock(session, experiment_id)
    if row.state not in ("failed", "cancelled"):
        raise Conflict(f"experiment {experiment_id} cannot be tried again: it is {row.state}")
    row.state, row.cause, row.message, row.finished_at = "queued", None, None, None
    events.tell(session, "experiment.queued", experiment_id=row.id)
    outbox.reopen_experiment(session, row)
    keys = list(session.scalars(select(ExperimentStageRow.stage_key).where(ExperimentStageRow.experiment_id == row.id)))
    _remake_evicted(session, row, _revive(session, keys, row), keys)
    queues = graph.make_ready(session, keys)
    graph.settle(session, [row])
    return Retried(row, queues)


def _lock(session: Session, experiment_id: str) -> ExperimentRow:
    query = select(ExperimentRow).where(ExperimentRow.id == experiment_id).with_for_update()
    row = session.scalar(query)
    if row is None:
        raise NotFound("experiment", experiment_id)
    return row


def _claim_key(session: Session, owner: str, key: str, body_digest: str) -> ExperimentRow | None:
    """Return the experiment that a key made before; two requests with one key at once wait for each other."""
    session.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))"), {"key": f"{owner}\n{key}"})
    query = select(ExperimentRow).where(ExperimentRow.owner == owner, ExperimentRow.idempotency_key == key)
    earlier = session.scalar(query)
    if earlier is not None and earlier.body_digest != body_digest:
        raise Conflict(f"Idempotency-Key {key!r} was used for experiment {earlier.id} with another body")
    return earlier


def _store_plan(
    session: Session, experiment: ExperimentRow, spec: ExperimentSpec, planned: Sequence[PlannedStage]
) -> dict[str, int]:
    """Write the stages that are new, link all, and return how much new work each queue has."""
    keys = [stage.key for stage in planned]
    fresh = _insert_stages(session, experiment, spec, planned)
    experiment.total_stages, experiment.reused_stages = len(keys), len(keys) - len(fresh)
    session.add(experiment)
    session.flush()
    outbox.open_experiment(session, experiment)
    events.tell(session, "experiment.queued", experiment_id=experiment.id)
    session.execute(
        insert(ExperimentStageRow),
        [
            {"experiment_id": experiment.id, "stage_key": key, "position": place, "reused": key not in fresh}
            for place, key in enumerate(keys)
        ],
    )
    rows = _revive(session, [key for key in keys if key not in fresh], experiment)
    there = rows.keys() - _remake_evicted(session, experiment, rows, keys)
    outbox.tag_reused(session, experiment.id, {place: rows[key] for place, key in enumerate(keys) if key in there})
    return graph.make_ready(session, keys)


def _insert_stages(
    session: Session, experiment: ExperimentRow, spec: ExperimentSpec, planned: Sequence[PlannedStage]
) -> set[str]:
    """Insert the stages that nobody planned before, with their edges; return their keys."""
    values = [
        {
            "key": stage.key,
            "kind": stage.spec.kind,
            "params": stage.spec.params.model_dump(mode="json"),
            "label": stage.label,
            "queue": stage.spec.queue,
            "priority": spec.priority,
            "owner": experiment.owner,
            "gpus": max(1, spec.resources.gpus) if stage.spec.kind in ("finetune", "train") else 1,
            "timeout_seconds": spec.resources.timeout_hours * 3600,
        }
        for stage in sorted(planned, key=lambda stage: stage.key)
    ]
    query = insert(StageRow).on_conflict_do_nothing().returning(StageRow.key)
    fresh = set(session.scalars(query, values))
    edges = [
        {"stage_key": stage.key, "name": edge.name, "input_key": edge.key, "position": place}
        for stage in planned
        if stage.key in fresh
        for place, edge in enumerate(stage.spec.inputs)
    ]
    if edges:
        session.execute(insert(StageInputRow), edges)
    return fresh


def _revive(session: Session, keys: Collection[str], experiment: ExperimentRow) -> dict[str, StageRow]:
    """Lock the stages of a plan, give failed and cancelled ones a new start, and raise priorities."""
    rows = graph.lock_stages(session, keys)
    for row in rows.values():
        row.priority = max(row.priority, experiment.priority)
        if row.state in ("failed", "cancelled"):
            graph.revive(row)
        elif row.state == "running":
            row.cancel_requested = False
    session.flush()
    return rows


def _remake_evicted(
    session: Session, experiment: ExperimentRow, rows: Mapping[str, StageRow], keys: Collection[str]
) -> set[str]:
    """Have evicted outputs that the plan misses made again; such a stage is no reused one."""
    remade = graph.remake_evicted(session, list(rows.values()), keys)
    if remade:
        mine = (ExperimentStageRow.experiment_id == experiment.id, ExperimentStageRow.stage_key.in_(remade))
        reused = update(ExperimentStageRow).where(*mine, ExperimentStageRow.reused).values(reused=False)
        experiment.reused_stages -= len(list(session.scalars(reused.returning(ExperimentStageRow.stage_key))))
    return remade


def _make_cursor(row: ExperimentRow) -> str:
    return base64.urlsafe_b64encode(json.dumps([row.created_at.isoformat(), row.id]).encode()).decode()


def _open_cursor(cursor: str) -> tuple[datetime, str]:
    refused = InvalidRequest("cursor", cursor, "the `next_cursor` of the page before")
    try:
        created_at, experiment_id = json.loads(base64.urlsafe_b64decode(cursor.encode()))
        known = re.fullmatch(r"exp_[0-9a-f]+", experiment_id)
        position = datetime.fromisoformat(created_at), experiment_id
    except (ValueError, TypeError, RecursionError) as error:
        raise refused from error
    if known is None:
        raise refused
    return position
