"""Claiming: one statement takes the best ready stage, and writes down everything that follows from that."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from services.queue import quotas
from services.stages import StageKind

MAY_BE_TAKEN = """gpus <= :gpus
            AND NOT coalesce(not_before BETWEEN now() AND now() + interval '1 minute', false)
            AND (avoid_worker_id IS DISTINCT FROM :worker_id OR NOT EXISTS (
                SELECT FROM worker AS other
                WHERE other.state = 'alive' AND other.id <> :worker_id
                    AND stage.queue = ANY(other.queues) AND stage.gpus <= cardinality(other.devices)))"""
"""Asked of a stage to find it, and again once it is locked: it may have run and come back in between."""

BY_INDEX = text("""
SELECT set_config('plan_cache_mode', 'force_generic_plan', true), set_config('enable_seqscan', 'off', true)
""")
"""For this transaction: to plan a claim anew takes longer than to run it, so that one plan is kept, which must not be
one for the few stages that there were when it was made."""

CLAIM = text(
    """
WITH RECURSIVE line AS (  -- the owners of each queue's ready stages, each found by one look into the index
    SELECT served.queue, (
        SELECT owner FROM stage WHERE state = 'ready' AND stage.queue = served.queue ORDER BY owner LIMIT 1) AS owner
    FROM unnest(CAST(:queues AS text[])) AS served (queue)
    UNION ALL
    SELECT line.queue, (
        SELECT owner FROM stage WHERE state = 'ready' AND stage.queue = line.queue AND stage.owner > line.owner
        ORDER BY owner LIMIT 1)
    FROM line WHERE line.owner IS NOT NULL
), load AS MATERIALIZED (
    SELECT owner, count(*) AS running, coalesce(sum(gpus) FILTER (WHERE queue = 'gpu'), 0) AS gpus
    FROM stage WHERE state = 'running' GROUP BY owner
), candidate AS MATERIALIZED (  -- of each owner as many as other claims may lock at one moment, by the index
    SELECT found.* FROM line LEFT JOIN load ON load.owner = line.owner
    LEFT JOIN quota AS own ON own.owner = line.owner LEFT JOIN quota AS rest ON rest.owner = '*'
    CROSS JOIN LATERAL (
        SELECT stage.key, priority, coalesce(load.running, 0) / coalesce(own.share, rest.share, 1) AS running, ready_at
        FROM stage
        WHERE state = 'ready' AND stage.queue = line.queue AND stage.owner = line.owner AND MAY_BE_TAKEN
            AND (line.queue <> 'gpu' OR coalesce(own.gpus, rest.gpus) IS NULL
                OR coalesce(load.gpus, 0) + stage.gpus <= coalesce(own.gpus, rest.gpus))
        ORDER BY priority DESC, ready_at, stage.key
        LIMIT 64
    ) AS found
    WHERE coalesce(load.running, 0) < coalesce(own.stages, rest.stages, coalesce(load.running, 0) + 1)
    ORDER BY priority DESC, running, ready_at, key
), best AS (  -- one at a time in that order, until one is locked
    SELECT free.key FROM candidate CROSS JOIN LATERAL (
        SELECT stage.key FROM stage
        WHERE stage.key = candidate.key AND (state = 'ready') IS TRUE AND MAY_BE_TAKEN  -- in words no index has
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS free
    LIMIT 1
), claimed AS (
    UPDATE stage SET
        state = 'running', worker_id = :worker_id, attempt = attempt + 1, progress = NULL, cause = NULL, message = NULL,
        lease_expires_at = clock_timestamp() + make_interval(secs => :lease_seconds),
        started_at = clock_timestamp(), finished_at = NULL, not_before = NULL, avoid_worker_id = NULL
    FROM best WHERE stage.key = best.key RETURNING stage.*
), needing AS (
    SELECT experiment.id, experiment.state, experiment.created_at
    FROM experiment JOIN experiment_stage ON experiment_id = experiment.id JOIN claimed ON stage_key = claimed.key
), waiting AS (  -- one that is just being cancelled is left to its canceller
    SELECT id FROM experiment WHERE id IN (SELECT id FROM needing WHERE state = 'queued') FOR NO KEY UPDATE SKIP LOCKED
), started AS (
    UPDATE experiment SET state = 'running', started_at = clock_timestamp()
    WHERE id = ANY(ARRAY(SELECT id FROM waiting)) AND state = 'queued' RETURNING id
), attempted AS (
    INSERT INTO attempt (stage_key, number, worker_id, device, gpus, environment)
    SELECT key, attempt, :worker_id, CASE queue WHEN 'cpu' THEN 'cpu' ELSE :device END,
        CASE WHEN queue = 'cpu' OR :device = 'cpu' THEN 0 ELSE gpus END, CAST(:environment AS jsonb)
    FROM claimed
    RETURNING stage_key, device
), told AS (
    INSERT INTO event (experiment_id, stage_key, attempt, type, data)
    SELECT id, NULL, NULL, 'experiment.running', '{}'::jsonb FROM started
    UNION ALL
    SELECT NULL, key, attempt, 'stage.running',
        jsonb_build_object('worker', :worker_id, 'device', device, 'label', label)
    FROM claimed JOIN attempted ON stage_key = key
), outboxed AS (  -- in this order: a run is opened before anything is said of it
    INSERT INTO outbox (stage_key, kind, data)
    SELECT key, 'open', jsonb_build_object('parent', (SELECT id FROM needing ORDER BY created_at LIMIT 1)) FROM claimed
    UNION ALL
    SELECT key, 'status', jsonb_build_object(
        'status', 'RUNNING', 'tags', jsonb_build_object('attempt', attempt::text, 'worker', :worker_id)) FROM claimed
    ON CONFLICT DO NOTHING
)
SELECT claimed.key, claimed.kind, claimed.queue, claimed.label, claimed.attempt, claimed.params,
    claimed.gpus, claimed.timeout_seconds, claimed.state_dropped_at_attempt,
    (SELECT coalesce(jsonb_agg(jsonb_build_array(name, source.kind, source.key, source.output) ORDER BY position), '[]')
     FROM stage_input JOIN stage AS source ON source.key = input_key WHERE stage_key = claimed.key) AS inputs,
    claimed.owner, EXISTS (SELECT FROM quota WHERE quota.owner IN (claimed.owner, '*')
        AND (quota.stages IS NOT NULL OR quota.gpus IS NOT NULL)) AS limited
FROM claimed
""".replace("MAY_BE_TAKEN", MAY_BE_TAKEN)
)


@dataclass(frozen=True)
class ClaimedInput:
    """The finished output of an input stage, as the artifact store names it."""

    name: str
    kind: StageKind
    key: str
    output: str


@dataclass(frozen=True)
class Claim:
    """A stage that this worker now owns, until its lease ends."""

    key: str
    kind: StageKind
    queue: str
    label: str
    attempt: int
    params: dict[str, Any]
    inputs: tuple[ClaimedInput, ...]
    gpus: int
    timeout_seconds: float
    state_dropped_at_attempt: int = 0
    """The attempts up to this one have left no state to go on from."""


def claim(
    session: Session,
    queues: Sequence[str],
    *,
    worker_id: str,
    device: str,
    lease_seconds: float,
    gpus: int = 1,
    environment: Mapping[str, Any] | None = None,
) -> Claim | None:
    """Take the best ready stage of some queues: by priority, then the owner who runs least by their share, then age.

    An owner who runs as much as their quota allows is left out.

    A stage whose last attempt failed on this worker, perhaps because of it, is left to others while there are any.

    Args:
        session: a transaction that the caller commits at once.
        queues: of ``cpu`` and ``gpu`` those for which the worker has a slot and a device now.
        worker_id: who claims.
        device: where a stage of queue ``gpu`` will run.
        lease_seconds: how long the claim holds without a heartbeat.
        gpus: largest number of processes, one GPU each, that this worker can give a stage.
        environment: in which it will run, to be kept with the attempt.

    Raises:
        Contended: other claims came in between; to be tried again.
    """
    values = {
        "queues": list(queues),
        "worker_id": worker_id,
        "device": device,
        "lease_seconds": lease_seconds,
        "gpus": gpus,
        "environment": None if environment is None else json.dumps(environment),
    }
    session.execute(BY_INDEX)
    row = session.execute(CLAIM, values).one_or_none()
    if row is None:
        return None
    if row.limited:
        quotas.require_room(session, row.owner)
    return Claim(
        key=row.key,
        kind=row.kind,
        queue=row.queue,
        label=row.label,
        attempt=row.attempt,
        params=row.params,
        inputs=tuple(ClaimedInput(*entry) for entry in row.inputs),
        gpus=row.gpus,
        timeout_seconds=row.timeout_seconds,
        state_dropped_at_attempt=row.state_dropped_at_attempt,
    )
