"""Says what an experiment would do: its stages, which of them are there, and what the others may take.

Estimates are of earlier attempts that succeeded at stages of the same kind and sizes on the same dataset, whatever
their split, seed, shard, weights and rates were.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from sqlalchemy import select
from sqlalchemy.orm import Session

from services import registry
from services.board import resting
from services.db.tables import StageRow
from services.errors import Finding
from services.planning import known
from services.planning.ensemble import EnsemblePlan
from services.planning.linter import Facts, lint
from services.planning.plan import plan
from services.planning.planned import PlannedStage
from services.planning.sources import Sources
from services.queue import history
from services.queue.history import Estimate
from services.recipes import RECIPES
from services.specs import EnsembleSpec, ExperimentSpec

THERE = ("waiting", "ready", "running", "succeeded")
"""States of a stage that is not run for one more experiment."""


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
    *,
    tested: bool = True,
) -> Trial:
    """Return what a submission would do; nothing is written, and what the linter would refuse is told like the rest.

    Args:
        session: a transaction of the caller.
        spec: what would be submitted. With ``refresh`` it is planned on the revision that this would make.
        recipe: from which it was made.
        seen: a look at the dataset's lists, see ``registry.look_again``.
        facts: what the linter is to know of the dataset, see ``review.look``.
        coming: experiments that an ensemble names and that are not there yet, by the ids that stand for them.
        tested: whether what is trained is scored on the test list, as a trial of a sweep is not.

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
    doubts: tuple[Finding, ...] = ()
    if isinstance(spec, EnsembleSpec):
        ensemble = EnsemblePlan(session, spec, index, coming=coming)
        planned, _ = ensemble.build()
        doubts = tuple(ensemble.doubts)
    else:
        planned = plan(spec, index, registry.boxes_for(session, spec), Sources(session, spec.dataset), tested=tested)
        doubts = known.of_sweeps(session, spec, recipe)
    query = select(StageRow.key, StageRow.state).where(StageRow.key.in_([stage.key for stage in planned]))
    states = {key: state for key, state in session.execute(query)}  # noqa: C416 - rows are not pairs to mypy
    stages = _foreseen(session, spec.dataset, planned, states)
    known_facts = known.with_stages(session, planned, facts or Facts())
    findings = lint(spec, planned, known_facts, RECIPES[recipe].spec if recipe in RECIPES else None)
    return Trial(tuple(stages), (*findings, *doubts, *resting.doubts(session, spec.model_dump(mode="json"))))


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


def _foreseen(
    session: Session, dataset: str, planned: Sequence[PlannedStage], states: Mapping[str, str]
) -> list[Foreseen]:
    """Return the stages with what those may take that would run."""
    owed = _owed(planned, states)
    sizes = {
        stage.key: history.sizes(dataset, stage.spec.kind, stage.spec.params.model_dump(mode="json"))
        for stage in planned
        if stage.key in owed
    }
    earlier = history.earlier(session, set(sizes.values()))
    return [
        Foreseen(
            stage,
            states.get(stage.key),
            history.estimate(earlier.get(sizes[stage.key], ())) if stage.key in owed else None,
        )
        for stage in planned
    ]
