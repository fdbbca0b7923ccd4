"""What a sweep would do: trials as they would be drawn, the stages of each, and what all of it may take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from services import registry
from services.errors import Finding
from services.planning import dry_run
from services.planning.dry_run import Foreseen, Trial
from services.planning.linter import Facts
from services.specs import ExperimentSpec
from services.specs.sweep import SweepSpec
from services.sweeps.space import RefusedPoint, Space, corners, trials_of
from services.sweeps.study import drawn

DRAWN = 32
"""Trials that are planned to see what they share; of a longer sweep the rest is taken to be like them."""


@dataclass(frozen=True)
class Foresight:
    """What a sweep would do.

    Attributes:
        trials: how many there are at the most.
        planned: how many of them were planned; fewer than were drawn where the spec refuses some.
        first: the values of the first trial, its experiment and its stages.
        best: what is trained as a whole in the end, with the first trial's values, and its stages.
        stages: of the trials and the best, each once, with how many trials need it; none of the best's own.
        findings: of the linter, each once.
    """

    trials: int
    planned: int
    first: tuple[Mapping[str, Any], ExperimentSpec, Trial]
    best: tuple[ExperimentSpec, Trial]
    stages: tuple[tuple[Foreseen, int], ...]
    findings: tuple[Finding, ...]

    @property
    def shared(self) -> int:
        """How many stages all trials have in common."""
        return sum(times == self.planned for _, times in self.stages) if self.planned > 1 else 0

    def times(self, needed: int) -> float:
        """Return for how many like it a stage stands that so many of the planned trials need: itself, or more where
        it is of one trial alone and there are more trials than were planned."""
        return self.trials / self.planned if needed == 1 else 1.0


def foresee(session: Session, sweep: SweepSpec, space: Space, seen: registry.Seen, facts: Facts) -> Foresight:
    """Return what a sweep would do; nothing is written.

    Args:
        session: a transaction of the caller.
        sweep: what is asked for.
        space: of it, checked.
        seen: a look at the dataset's lists, see ``registry.look_again``.
        facts: what the linter is to know of the dataset, see ``review.look``.

    Raises:
        InvalidRequest: no dataset has that name, or it lacks a split, or a file of weights is not there.
        Conflict: the dataset's lists have changed.
    """
    trials = trials_of(sweep, space)
    found: list[tuple[Mapping[str, Any], ExperimentSpec, Trial]] = []
    for values, spec in _trials(sweep, space, min(trials, DRAWN)):
        found.append((values, spec, dry_run.foresee(session, spec, space.recipe, seen, facts, tested=False)))
    first = found[0]
    best = space.best(sweep, first[0])
    whole = dry_run.foresee(session, best, space.recipe, seen, facts)
    times = Counter(each.stage.key for _, _, trial in found for each in trial.stages)
    stages = {each.stage.key: each for trial in (*(trial for *_, trial in found), whole) for each in trial.stages}
    findings = dict.fromkeys(
        finding for trial in (whole, *(trial for *_, trial in found)) for finding in trial.findings
    )
    return Foresight(
        trials=trials,
        planned=len(found),
        first=first,
        best=(best, whole),
        stages=tuple((stage, times[key]) for key, stage in stages.items()),
        findings=tuple(findings),
    )


def _trials(sweep: SweepSpec, space: Space, count: int) -> list[tuple[Mapping[str, Any], ExperimentSpec]]:
    """Return values and experiment of the first trials; one that the spec refuses would fail, and take nothing."""
    found: list[tuple[Mapping[str, Any], ExperimentSpec]] = []
    for number, values in enumerate(drawn(sweep, space.axes, count)):
        with suppress(RefusedPoint):
            found.append((values, space.trial(sweep, number, values)))
    if not found:
        corner = next(corners(space.axes))  # which was tried when the sweep was looked at
        found.append((corner, space.trial(sweep, 0, corner)))
    return found
