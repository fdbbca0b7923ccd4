"""The fusions of a finished experiment, and sweeps over their weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.db.engine import Database
from services.db.tables import ExperimentRow, ExperimentStageRow, StageInputRow, StageRow
from services.errors import Conflict, InvalidRequest, NotFound
from services.scores.files import ScoreFile, read_scores
from services.scores.fusion import aligned, own_stream
from services.scores.sweep import Sweep, sweep
from services.stores.artifacts import ArtifactStore

MAX_FUSIONS = 60
"""Of an experiment: 3 splits with 20 seeds."""
FUSES = "one that fuses the scores of two systems or more"


@dataclass(frozen=True)
class Fusion:
    """A `fuse` stage: its parameters, and the label and output of each of its inputs."""

    params: Mapping[str, Any]
    systems: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class SweptFusion:
    """The sweep over the weights of one split and seed; ``member`` is the index of the system that was swept."""

    split: int
    seed: int
    method: str
    systems: tuple[str, ...]
    member: int
    sweep: Sweep


def sweeps(
    database: Database,
    store: ArtifactStore,
    experiment_id: str,
    *,
    member: int = -1,
    split: int | None = None,
    steps: int = 21,
) -> list[SweptFusion]:
    """Return the sweep of each split and seed of an experiment whose systems have scores of their own.

    Args:
        database: says which stages there are.
        store: has the scores.
        experiment_id: of a two-stream experiment or an ensemble.
        member: the system to sweep, from 0; -1 is the last one.
        split: only this one.
        steps: points of the curve.

    Raises:
        NotFound: nothing has this id.
        Conflict: scores are not there yet, or no longer.
        InvalidRequest: the fusion has no such split or member, or no weights.
        Unavailable: the store does not answer.
    """
    with database.transaction() as session:
        found = _fusions(session, experiment_id)
    if not found:
        raise InvalidRequest("experiment", experiment_id, FUSES)
    there = sorted({fusion.params["split"] for fusion in found})
    if split is not None and split not in there:
        raise InvalidRequest("split", split, ", ".join(map(str, there)))
    return [_swept(store, fusion, member, steps) for fusion in found if split in (None, fusion.params["split"])]


def _swept(store: ArtifactStore, fusion: Fusion, member: int, steps: int) -> SweptFusion:
    params, number = fusion.params, len(fusion.systems)
    if number < 2:
        raise InvalidRequest("experiment", fusion.systems[0][0], FUSES)
    if not -1 <= member < number:
        raise InvalidRequest("member", member, f"0 to {number - 1}, or -1 for the last one")
    files = aligned([(label, read_scores(store.fetch(output))) for label, output in fusion.systems])
    weights = [_weight(params, at, file) for at, file in enumerate(files)]
    found = sweep(files, params["method"], weights, member % number, steps)
    labels = tuple(label for label, _ in fusion.systems)
    return SweptFusion(params["split"], params["seed"], params["method"], labels, member % number, found)


def _weight(params: Mapping[str, Any], at: int, file: ScoreFile) -> float:
    members = params.get("members")
    return float(members[at]["weight"] if members else params["weights"][own_stream(file)])


def _fusions(session: Session, experiment_id: str) -> list[Fusion]:
    """Return an experiment's own fusions by split and seed; those of an ensemble's members are theirs."""
    if session.get(ExperimentRow, experiment_id) is None:
        raise NotFound("experiment", experiment_id)
    query = select(StageRow).join(ExperimentStageRow, ExperimentStageRow.stage_key == StageRow.key)
    query = query.where(ExperimentStageRow.experiment_id == experiment_id, StageRow.kind == "fuse")
    stages = list(session.scalars(query.order_by(ExperimentStageRow.position)))
    own = [stage for stage in stages if stage.params.get("members")] or stages
    return [Fusion(stage.params, _systems(session, stage.key)) for stage in own[:MAX_FUSIONS]]


def _systems(session: Session, key: str) -> tuple[tuple[str, str], ...]:
    query = select(StageRow).join(StageInputRow, StageInputRow.input_key == StageRow.key)
    rows = list(session.scalars(query.where(StageInputRow.stage_key == key).order_by(StageInputRow.position)))
    for row in rows:
        if row.state != "succeeded" or row.output is None:
            hint = "submit the experiment again to have them made" if row.state == "evicted" else "wait for it"
            raise Conflict(f"{row.label} is {row.state}: its scores are not there; hint: {hint}")
    return tuple((row.label, str(row.output)) for row in rows)
