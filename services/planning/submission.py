"""Submission: an experiment and its plan become rows, in a few statements whatever the number of stages.

Stages that are there, finished or not, are shared. Rows of the stage table are locked by their keys' order: first the
new ones as they are inserted, then the shared ones; only then is anything written that refers to them.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import bindparam, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from services import registry
from services.board import resting
from services.board.protocol import Measurement
from services.db.tables import DeletedExperimentRow, ExperimentRow, StageRow
from services.errors import Conflict, Finding
from services.journal import outbox
from services.planning import known
from services.planning.ensemble import EnsemblePlan
from services.planning.linter import Facts, lint, require_sound
from services.planning.plan import plan
from services.planning.planned import PlannedStage
from services.planning.provenance import measured
from services.planning.sources import Sources
from services.queue import experiments, graph, history, needs
from services.recipes import RECIPES
from services.specs import EnsembleSpec, ExperimentSpec
from services.version import code_revision

INSERT_STAGES = text("""
INSERT INTO stage (key, kind, params, label, queue, sizes, priority, owner, gpus, timeout_seconds)
SELECT key, kind, params, label, queue, sizes, :priority, :owner, gpus, :timeout_seconds
FROM jsonb_to_recordset(:planned)
    AS planned (key text, kind text, params jsonb, label text, queue text, sizes text, gpus int)
ORDER BY key
ON CONFLICT DO NOTHING RETURNING key
""").bindparams(bindparam("planned", type_=JSONB))

RECORD = select(ExperimentRow).from_statement(
    text("""
    WITH submitted AS (
        INSERT INTO experiment (id, name, owner, dataset, spec, recipe, priority, gpus, timeout_seconds,
                                idempotency_key, body_digest, flags, code_revision, sweep_id, trial,
                                total_stages, reused_stages)
        VALUES (:id, :name, :owner, :dataset, :spec, :recipe, :priority, :gpus, :timeout_seconds,
                :idempotency_key, :body_digest, :flags, :code_revision, :sweep_id, :trial,
                jsonb_array_length(:links), :reused)
        RETURNING *
    ), linked AS (
        INSERT INTO experiment_stage (experiment_id, stage_key, position, reused)
        SELECT :id, key, position, reused
        FROM jsonb_to_recordset(:links) AS link (key text, position int, reused boolean)
    ), joined AS (
        INSERT INTO stage_input (stage_key, name, input_key, position)
        SELECT stage_key, name, input_key, position
        FROM jsonb_to_recordset(:edges) AS edge (stage_key text, name text, input_key text, position int)
    ), worded AS (
        INSERT INTO protocol (digest, fields, line)
        SELECT DISTINCT digest, fields, line
        FROM jsonb_to_recordset(:streams) AS stream (digest text, fields jsonb, line text)
        ORDER BY digest
        ON CONFLICT DO NOTHING
    ), measured AS (
        INSERT INTO experiment_stream (experiment_id, stream, protocol, model, source, uploaded)
        SELECT :id, stream, digest, model, source, uploaded
        FROM jsonb_to_recordset(:streams)
            AS stream (stream text, digest text, model text, source text, uploaded boolean)
    ), outboxed AS (
        INSERT INTO outbox (experiment_id, kind, data)
        SELECT :id, kind, data FROM jsonb_to_recordset(:messages) AS message (kind text, data jsonb)
    ), needing AS (
        INSERT INTO experiment_need (experiment_id, needed_id) SELECT :id, jsonb_array_elements_text(:needed)
    ), told AS (
        INSERT INTO event (experiment_id, type) VALUES (:id, 'experiment.queued')
    )
    SELECT * FROM submitted
    """).bindparams(
        *(bindparam(name, type_=JSONB) for name in ("spec", "flags", "links", "edges", "messages", "streams", "needed"))
    )
)


@dataclass(frozen=True)
class Submitted:
    """A new experiment, or the one that the same idempotency key made before.

    Attributes:
        row: the experiment.
        created: whether it is new.
        states: how many of its stages are in which state.
        queues: how much new work each queue has.
    """

    row: ExperimentRow
    created: bool
    states: Mapping[str, int]
    queues: Mapping[str, int]


@dataclass(frozen=True)
class OfSweep:
    """What a sweep says of an experiment that it submits.

    Attributes:
        id: of the sweep.
        name: of the sweep.
        trial: its number; None for the best configuration, trained as a whole.
        findings: what is doubtful of it, beside what the linter finds.
    """

    id: str
    name: str
    trial: int | None = None
    findings: tuple[Finding, ...] = ()


def submit(
    session: Session,
    spec: ExperimentSpec | EnsembleSpec,
    *,
    owner: str,
    body_digest: str,
    recipe: str | None = None,
    idempotency_key: str | None = None,
    seen: registry.Seen = None,
    facts: Facts | None = None,
    sweep: OfSweep | None = None,
) -> Submitted:
    """Store an experiment and its plan.

    Args:
        session: a transaction of the caller.
        spec: what is submitted.
        owner: whose it is.
        body_digest: of the request, by which a repeated idempotency key is compared.
        recipe: from which the spec was made.
        idempotency_key: makes a repeated submission harmless.
        seen: a look at the dataset's lists, see ``registry.look_again``.
        facts: what the linter is to know of the dataset, see ``review.look``.
        sweep: that submits it; a trial is trained, and not tested.

    Raises:
        Refused: the linter finds that its numbers would be wrong.
        InvalidRequest: no dataset has that name, or it lacks a split; no stage trains the weights that the spec names;
            an ensemble cannot have such a member.
        Conflict: the idempotency key came before with another body, or its experiment was deleted; the
            dataset's lists have changed.
    """
    needed = _hold_named(session, spec)
    dataset = registry.chosen(session, spec.dataset)  # a session reads again what nobody refers to
    planned, streams, doubts = _planned(session, spec, recipe, tested=sweep is None or sweep.trial is None)
    if idempotency_key is not None:
        earlier = _claim_key(session, owner, idempotency_key, body_digest)
        if earlier is not None:
            return Submitted(earlier, False, experiments.counts(session, [earlier.id])[earlier.id], {})
    registry.require_unchanged(session, dataset.name, seen)
    known_facts = known.with_stages(session, planned, facts or Facts())
    findings = lint(spec, planned, known_facts, RECIPES[recipe].spec if recipe in RECIPES else None)
    require_sound(findings)
    findings += (*doubts, *(() if sweep is None else sweep.findings))
    keys = [stage.key for stage in planned]
    new = _insert_stages(session, spec, owner, planned)
    shared = graph.revive(session, [key for key in keys if key not in new])
    inputs = {stage.key: [edge.key for edge in stage.spec.inputs] for stage in planned}
    remade = graph.remake_evicted(session, shared, inputs)
    columns = {
        "id": f"exp_{int(time.time() * 1000):012x}{secrets.token_hex(4)}",
        "name": spec.name,
        "owner": owner,
        "dataset": spec.dataset,
        "spec": spec.model_dump(mode="json"),
        "recipe": recipe,
        "priority": spec.priority,
        "gpus": max(1, spec.resources.gpus),
        "timeout_seconds": spec.resources.timeout_hours * 3600,
        "idempotency_key": idempotency_key,
        "body_digest": body_digest,
        "flags": [asdict(finding) for finding in findings],
        "code_revision": code_revision(),
        "sweep_id": None if sweep is None else sweep.id,
        "trial": None if sweep is None else sweep.trial,
        "streams": [_measurement(stream) for stream in streams],
        "needed": needed,
    }
    row = session.scalars(RECORD, columns | _links(planned, shared, remade, sweep)).one()
    needs.refresh_requests(session, shared)
    queues = graph.make_ready(session, keys)
    states = Counter(stage.state for stage in shared.values())
    states += Counter(waiting=len(new) - sum(queues.values()), ready=sum(queues.values()))
    if states.keys() <= set(graph.DONE):
        graph.settle(session, [row])
        session.flush()
        session.refresh(row, ["finished_at"])  # the database's clock wrote it, and callers read it afterwards
    return Submitted(row, True, states, queues)


def _hold_named(session: Session, spec: ExperimentSpec | EnsembleSpec) -> list[str]:
    """Return the ids of the experiments that a spec names, which nobody deletes while this transaction lasts."""
    named = sorted({id_ for _, id_ in resting.named(spec.model_dump(mode="json"))})
    held = select(ExperimentRow.id).where(ExperimentRow.id.in_(named)).order_by(ExperimentRow.id)
    return list(session.scalars(held.with_for_update(read=True, key_share=True))) if named else []


def _planned(
    session: Session, spec: ExperimentSpec | EnsembleSpec, recipe: str | None, *, tested: bool
) -> tuple[Sequence[PlannedStage], Sequence[Measurement], Sequence[Finding]]:
    """Return the stages of an experiment, how its streams are measured, and what is doubtful of where it is from."""
    index, withdrawn = registry.index_params_for(session, spec), resting.doubts(session, spec.model_dump(mode="json"))
    if isinstance(spec, EnsembleSpec):
        ensemble = EnsemblePlan(session, spec, index)
        return *ensemble.build(), (*ensemble.doubts, *withdrawn)
    boxes, sources = registry.boxes_for(session, spec), Sources(session, spec.dataset)
    planned = plan(spec, index, boxes, sources, tested=tested)
    return planned, measured(spec, planned), (*known.of_sweeps(session, spec, recipe), *withdrawn)


def _claim_key(session: Session, owner: str, key: str, body_digest: str) -> ExperimentRow | None:
    """Return the experiment that a key made before; two requests with one key at once wait for each other."""
    session.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))"), {"key": f"{owner}\n{key}"})
    query = select(ExperimentRow).where(ExperimentRow.owner == owner, ExperimentRow.idempotency_key == key)
    earlier = session.scalar(query)
    if earlier is None:
        _require_not_deleted(session, owner, key)
    if earlier is not None and earlier.body_digest != body_digest:
        raise Conflict(f"Idempotency-Key {key!r} was used for experiment {earlier.id} with another body")
    return earlier


def _require_not_deleted(session: Session, owner: str, key: str) -> None:
    """Refuse a key whose experiment was deleted: who repeats a request does not want it again."""
    used = (DeletedExperimentRow.owner == owner, DeletedExperimentRow.idempotency_key == key)
    gone = session.scalar(select(DeletedExperimentRow).where(*used).limit(1))
    if gone is not None:
        raise Conflict(
            f"Idempotency-Key {key!r} was used for experiment {gone.id}, which was deleted; hint: another key"
        )


def _insert_stages(
    session: Session, spec: ExperimentSpec | EnsembleSpec, owner: str, planned: Sequence[PlannedStage]
) -> AbstractSet[str]:
    """Insert the stages that nobody planned before and return their keys."""
    values = {
        "planned": [_columns(stage, spec) for stage in planned],
        "priority": spec.priority,
        "owner": owner,
        "timeout_seconds": spec.resources.timeout_hours * 3600,
    }
    return set(session.scalars(INSERT_STAGES, values))


def _columns(stage: PlannedStage, spec: ExperimentSpec | EnsembleSpec) -> dict[str, Any]:
    params = stage.spec.params.model_dump(mode="json")
    return {
        "key": stage.key,
        "kind": stage.spec.kind,
        "params": params,
        "label": stage.label,
        "queue": stage.spec.queue,
        "sizes": history.sizes(spec.dataset, stage.spec.kind, params),
        "gpus": max(1, spec.resources.gpus) if stage.spec.kind in needs.PARALLEL_KINDS else 1,
    }


def _measurement(stream: Measurement) -> dict[str, Any]:
    """Return how a stream is measured, as results will have it, whatever a later version says of the spec."""
    protocol = {"digest": stream.protocol.digest, "fields": stream.protocol.fields, "line": stream.protocol.line}
    made = {"model": stream.model, "source": stream.source, "uploaded": stream.uploaded}
    return {"stream": stream.stream, **made, **protocol}


def _links(
    planned: Sequence[PlannedStage], shared: Mapping[str, StageRow], remade: AbstractSet[str], sweep: OfSweep | None
) -> dict[str, Any]:
    """Return what links an experiment to its stages, and new ones to their inputs; what is made again is not reused."""
    there = shared.keys() - remade
    reused = {place: shared[stage.key] for place, stage in enumerate(planned) if stage.key in there}
    return {
        "links": [
            {"key": stage.key, "position": place, "reused": place in reused} for place, stage in enumerate(planned)
        ],
        "edges": [
            {"stage_key": stage.key, "name": edge.name, "input_key": edge.key, "position": number}
            for stage in planned
            if stage.key not in shared
            for number, edge in enumerate(stage.spec.inputs)
        ],
        "messages": outbox.opening(reused, None if sweep is None else {"id": sweep.id, "name": sweep.name}),
        "reused": len(reused),
    }
