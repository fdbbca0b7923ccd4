"""Says what an experiment would do: its stages, which of them are there, and what the others may take.

Estimates are of earlier attempts that succeeded at stages of the same kind and sizes on the same dataset, whatever
their split, seed, shard, weights and rates were.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from types import MappingProxyType
from typing import Any, NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from services import registry
from services.db.tables import AttemptRow, ExperimentRow, ExperimentStageRow, StageRow
from services.errors import Finding
from services.planning.ensemble import EnsemblePlan
from services.planning.linter import Facts, lint
from services.planning.plan import plan
from services.planning.planned import PlannedStage
from services.planning.sources import Sources
from services.recipes import RECIPES
from services.specs import EnsembleSpec, ExperimentSpec

COSTLESS = frozenset(
    {"split", "seed", "shard", "digest", "weights", "optimizer", "milestones", "dropout", "average", "method"}
)
"""Parameters of stages, at any depth, on which what a stage takes does not depend."""
LATEST = 200
"""Attempts of each kind that are looked at."""
THERE = ("waiting", "ready", "running", "succeeded")
"""States of a stage that is not run for one more experiment."""


class Estimate(NamedTuple):
    """What a stage may take, by ``attempts`` earlier ones of its kind and sizes; None where none has said so.

    Attributes:
        attempts: how many there are.
        seconds: their median.
        memory_bytes: the most of them.
        gpu_memory_bytes: likewise, of tensors on a GPU.
        disk_bytes: of the output, likewise.
    """

    attempts: int = 0
    seconds: float | None = None
    memory_bytes: int | None = None
    gpu_memory_bytes: int | None = None
    disk_bytes: int | None = None


@dataclass(frozen=True)
class Foreseen:
    """A stage of a plan; ``state`` is None where nobody planned it before, ``estimate`` where it would not run."""

    stage: PlannedStage
    state: str | None
    estimate: Estimate | None

    @property
    def reused(self) -> bool:
        """Whether what is there, or under way, does for it."""
        return self.estimate is None


@dataclass(frozen=True)
class Trial:
    """The stages that a submission would plan, inputs first, and what the linter finds."""

    stages: tuple[Foreseen, ...]
    findings: tuple[Finding, ...]


def foresee(
    session: Session,
    spec: ExperimentSpec | EnsembleSpec,
    recipe: str | None = None,
    seen: registry.Seen = None,
    facts: Facts | None = None,
    coming: Mapping[str, ExperimentSpec] = MappingProxyType({}),
) -> Trial:
    """Return what a submission would do; nothing is written, and what the linter would refuse is told like the rest.

    Args:
        session: a transaction of the caller.
        spec: what would be submitted. With ``refresh`` it is planned on the revision that this would make.
        recipe: from which it was made.
        seen: a look at the dataset's lists, see ``registry.look_again``.
        facts: what the linter is to know of the dataset, see ``review.look``.
        coming: experiments that an ensemble names and that are not there yet, by the ids that stand for them.

    Raises:
        InvalidRequest: no dataset has that name, or it lacks a split, or a file of weights is not there.
        Conflict: the dataset's lists have changed, and ``refresh`` is not set.
    """
    index = registry.index_params_for(session, spec)
    if spec.refresh and registry.has_changed(session, spec.dataset, seen):
        index = index.model_copy(update={"revision": index.revision + 1})
    else:
        registry.require_unchanged(session, spec.dataset, seen)
    planned: Sequence[PlannedStage]
    if isinstance(spec, EnsembleSpec):
        planned, _ = EnsemblePlan(session, spec, index, coming=coming).build()
    else:
        planned = plan(spec, index, registry.boxes_for(session, spec), Sources(session, spec.dataset))
    query = select(StageRow.key, StageRow.state).where(StageRow.key.in_([stage.key for stage in planned]))
    states = {key: state for key, state in session.execute(query)}  # noqa: C416 - rows are not pairs to mypy
    owed = _owed(planned, states)
    earlier = _earlier(session, spec.dataset, {stage.spec.kind for stage in planned if stage.key in owed})
    stages = [
        Foreseen(stage, states.get(stage.key), _estimate(stage, earlier) if stage.key in owed else None)
        for stage in planned
    ]
    findings = lint(spec, planned, facts or Facts(), RECIPES[recipe].spec if recipe in RECIPES else None)
    return Trial(tuple(stages), findings)


def _owed(planned: Sequence[PlannedStage], states: Mapping[str, str]) -> set[str]:
    """Return the keys of the stages that would run: an evicted one does where its output is missed."""
    taken = {edge.key for stage in planned for edge in stage.spec.inputs}
    owed: set[str] = set()
    missed = {stage.key for stage in planned if stage.key not in taken}
    for stage in reversed(planned):
        state = states.get(stage.key)
        if state not in THERE and (state != "evicted" or stage.key in missed):
            owed.add(stage.key)
        if stage.key in owed or state in ("waiting", "ready", "running"):
            missed |= {edge.key for edge in stage.spec.inputs}
    return owed


def _sizes(kind: str, params: Mapping[str, Any]) -> str:
    return json.dumps([kind, _sized(params)], sort_keys=True)


def _sized(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _sized(entry) for name, entry in value.items() if name not in COSTLESS}
    return value


def _earlier(session: Session, dataset: str, kinds: Collection[str]) -> dict[str, list[Any]]:
    """Return the latest attempts that succeeded on a dataset, by the kind and sizes of their stages."""
    place = func.row_number().over(partition_by=StageRow.kind, order_by=AttemptRow.finished_at.desc())
    wanted = (
        select(ExperimentStageRow.stage_key)
        .join(ExperimentRow, ExperimentRow.id == ExperimentStageRow.experiment_id)
        .where(ExperimentRow.dataset == dataset)
    )
    seconds = func.extract("epoch", AttemptRow.finished_at - AttemptRow.started_at).label("seconds")
    found = (
        select(
            StageRow.kind,
            StageRow.params,
            seconds,
            AttemptRow.memory_bytes,
            AttemptRow.gpu_memory_bytes,
            AttemptRow.disk_bytes,
            place.label("place"),
        )
        .join(StageRow, StageRow.key == AttemptRow.stage_key)
        .where(AttemptRow.state == "succeeded", StageRow.kind.in_(kinds), StageRow.key.in_(wanted))
        .subquery()
    )
    attempts: dict[str, list[Any]] = {}
    for row in session.execute(select(found).where(found.c.place <= LATEST)):
        attempts.setdefault(_sizes(row.kind, row.params), []).append(row)
    return attempts


def _estimate(stage: PlannedStage, earlier: Mapping[str, Sequence[Any]]) -> Estimate:
    rows = earlier.get(_sizes(stage.spec.kind, stage.spec.params.model_dump(mode="json")), ())
    if not rows:
        return Estimate()
    most = {
        name: max((getattr(row, name) for row in rows if getattr(row, name) is not None), default=None)
        for name in ("memory_bytes", "gpu_memory_bytes", "disk_bytes")
    }
    return Estimate(len(rows), float(median(row.seconds for row in rows)), **most)
