"""Who needs which stage now, and what they ask of it beside its key.

A stage is shared. Its priority, owner, devices and time limit are those of the most generous experiment that needs it
now; a stage that nobody can use any more is cancelled.

Two rules keep transactions apart that move the same stages. Experiments are locked before stages, and all stages that
a transaction moves are locked by one statement in the order of their keys. What was read to find them is read again
under the locks; if more has come meanwhile, the transaction starts anew.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from sqlalchemy import bindparam, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session
from sqlalchemy.types import Text

from services.db.tables import ExperimentRow, ExperimentStageRow, StageInputRow, StageRow
from services.errors import Cause, Contended
from services.queue import graph
from services.stages import KINDS

PARALLEL_KINDS = tuple(name for name, kind in KINDS.items() if kind.uses_several_gpus)

CONSUMERS = text("""
SELECT needed.stage_key, needed.experiment_id, consumer.key AS consumer_key, consumer.state AS consumer_state
FROM experiment_stage AS needed
JOIN experiment ON experiment.id = needed.experiment_id AND experiment.state IN ('queued', 'running')
LEFT JOIN (
    stage_input
    JOIN stage AS consumer ON consumer.key = stage_input.stage_key
    JOIN experiment_stage AS consuming ON consuming.stage_key = consumer.key
) ON stage_input.input_key = needed.stage_key AND consuming.experiment_id = needed.experiment_id
WHERE needed.stage_key = ANY(:keys)
""").bindparams(bindparam("keys", type_=ARRAY(Text)))
"""Which experiments that go on have some stages in their plans, and what in the same plan takes each as an input."""

REQUESTS = text("""
UPDATE stage SET
    priority = CASE WHEN stage.state = 'running' THEN stage.priority ELSE asked.priority END,
    owner = CASE WHEN stage.state = 'running' THEN stage.owner ELSE asked.owner END,
    gpus = CASE WHEN stage.state = 'running' THEN stage.gpus WHEN kind = ANY(:parallel) THEN asked.gpus ELSE 1 END,
    timeout_seconds = CASE WHEN stage.state = 'running' THEN greatest(stage.timeout_seconds, asked.timeout_seconds)
                           ELSE asked.timeout_seconds END
FROM (
    SELECT stage_key, max(experiment.priority) AS priority, max(gpus) AS gpus, max(timeout_seconds) AS timeout_seconds,
        (array_agg(owner ORDER BY experiment.priority DESC, created_at, id))[1] AS owner
    FROM experiment_stage JOIN experiment ON experiment.id = experiment_id
    WHERE stage_key = ANY(:keys) AND experiment.state IN ('queued', 'running')
    GROUP BY stage_key
) AS asked
WHERE stage.key = asked.stage_key AND stage.state IN ('waiting', 'ready', 'running')
""").bindparams(bindparam("keys", type_=ARRAY(Text)), bindparam("parallel", type_=ARRAY(Text)))


@dataclass(frozen=True)
class Neighbourhood:
    """A stage, the unfinished experiments that need it, and the stages that its ending may move; all of them locked."""

    experiments: list[ExperimentRow]
    stages: dict[str, StageRow]


def lock_for_success(session: Session, key: str) -> Neighbourhood:
    """Lock what the success of a stage moves: the stages that take it as an input.

    Raises:
        Contended: a submission brought more of them meanwhile.
    """
    inputs = select(StageInputRow.stage_key).where(StageInputRow.input_key == key)
    return _lock(session, key, lambda: session.scalars(inputs))


def lock_for_failure(session: Session, key: str) -> Neighbourhood:
    """Lock what the failure of a stage moves: every stage of the unfinished experiments that need it.

    Raises:
        Contended: a submission brought more of them meanwhile.
    """
    mine = select(ExperimentStageRow.experiment_id).where(ExperimentStageRow.stage_key == key)
    plans = (
        select(ExperimentStageRow.stage_key)
        .join(ExperimentRow, ExperimentRow.id == ExperimentStageRow.experiment_id)
        .where(ExperimentRow.id.in_(mine), ExperimentRow.state.in_(graph.UNSETTLED))
    )
    return _lock(session, key, lambda: session.scalars(plans))


def needed(session: Session, keys: Collection[str]) -> AbstractSet[str]:
    """Return those of some stages of which an experiment that goes on can still make use.

    That is one whose plan wants the stage for itself, as nothing there takes it as an input, or whose plan has a stage
    yet to be finished that takes it. The caller holds locks on the stages: whoever came before with a submission or a
    retry has locked them too, and is seen; whoever comes later finds what the caller makes of them.
    """
    uses: dict[str, dict[str, set[str | None]]] = defaultdict(lambda: defaultdict(set))
    for key, experiment_id, consumer, state in session.execute(CONSUMERS, {"keys": list(keys)}):
        use = uses[key][experiment_id]
        if consumer is None:
            use.add(None)
        elif state in graph.UNFINISHED:
            use.add(consumer)
    found = {key for key in uses if any(uses[key].values())}
    while idle := {key for key in found if not _used(uses[key].values(), keys, found)}:
        found -= idle
    return found


def _used(uses: Iterable[set[str | None]], keys: Collection[str], found: AbstractSet[str]) -> bool:
    """Tell whether a use is left: a plan's own, or by a stage that is itself needed or was not asked about."""
    return any(consumer is None or consumer in found or consumer not in keys for use in uses for consumer in use)


def cancel_unneeded(session: Session, rows: Mapping[str, StageRow], message: str) -> None:
    """Cancel the unfinished ones of some locked stages that no experiment can use any more; stop those that run."""
    session.flush()
    unfinished = {key: row for key, row in rows.items() if row.state in graph.UNFINISHED}
    kept = needed(session, unfinished)
    for key, row in unfinished.items():
        if key in kept:
            continue
        if row.state == "running":
            row.cancel_requested = True
        else:
            graph.end_stage(session, row, "cancelled", Cause.CANCELLED, message)


def cancel_descendants(session: Session, key: str, rows: Mapping[str, StageRow], cause: Cause, message: str) -> None:
    """End every one of some locked stages that can never run because ``key`` failed."""
    takers: dict[str, list[str]] = defaultdict(list)
    for edge in session.scalars(select(StageInputRow).where(StageInputRow.input_key.in_(list(rows)))):
        takers[edge.input_key].append(edge.stage_key)
    reached, frontier = {key}, [key]
    while frontier:
        fresh = [taker for taker in takers[frontier.pop()] if taker in rows and taker not in reached]
        reached.update(fresh)
        frontier += fresh
    for other in sorted(reached - {key}):
        if rows[other].state in ("waiting", "ready"):
            graph.end_stage(session, rows[other], "cancelled", cause, message)


def refresh_requests(session: Session, keys: Collection[str]) -> None:
    """Have some locked stages ask for what the experiments that need them now ask for.

    A stage that runs keeps what it was claimed with; its time limit alone may rise.
    """
    session.flush()
    if keys:
        session.execute(REQUESTS, {"keys": list(keys), "parallel": list(PARALLEL_KINDS)})


def _lock(session: Session, key: str, others: Callable[[], Iterable[str]]) -> Neighbourhood:
    experiments = graph.experiments_of(session, key)
    stages = graph.lock_stages(session, [key, *others()])
    known = {experiment.id for experiment in experiments}
    if not known >= set(graph.experiment_ids_of(session, key)) or not stages.keys() >= set(others()):
        raise Contended(f"a submission needs stage {key[:12]} since a moment ago")
    return Neighbourhood(experiments, stages)
