"""What the database knows of a plan, for the linter: what finished stages say, and what sweeps have chosen.

What a sweep has chosen stays chosen by it where its best configuration is repeated, or where something starts from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import ARRAY, Text, cast, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from services.db.tables import ExperimentRow, StageRow
from services.errors import Finding
from services.planning.linter import Facts
from services.planning.planned import PlannedStage
from services.recipes import RECIPES
from services.specs import ExperimentSpec, StageWeights

SAYING = ("index", "score")
"""Kinds that may say it: of what users brought, the `score` stages."""
BEST = "best_of_trials"
OF_A_RUN = ("name", "dataset", "splits", "seeds", "priority", "refresh", "resources")
"""Fields that say on what and how a configuration is run, and nothing of itself."""


def with_stages(session: Session, planned: Sequence[PlannedStage], facts: Facts) -> Facts:
    """Return facts with what the finished stages of a plan say; those of before say nothing."""
    keys = [stage.key for stage in planned if stage.spec.kind in SAYING]
    query = select(StageRow.key, StageRow.summary).where(StageRow.key.in_(keys), StageRow.summary.is_not(None))
    summaries = {row.key: row.summary for row in session.execute(query)}
    classes = {key: tuple(said["names"]) for key, said in summaries.items() if "names" in said}
    clips = {key: said["ids"] for key, said in summaries.items() if "ids" in said}
    return replace(facts, classes=classes, clips=clips)


def of_sweeps(session: Session, spec: ExperimentSpec, recipe: str | None) -> tuple[Finding, ...]:
    """Return the flags of a sweep's best experiment that an experiment on the same dataset takes over.

    It has them with the same configuration, whatever its name, splits and seeds, and with weights of such an
    experiment. A recipe as it stands was chosen by its paper, whatever a sweep finds.

    Args:
        session: a transaction of the caller.
        spec: what is submitted.
        recipe: that it names.
    """
    return tuple(dict.fromkeys((*_repeated(session, spec, recipe), *_started_from(session, spec))))


def _repeated(session: Session, spec: ExperimentSpec, recipe: str | None) -> Iterator[Finding]:
    own = _configuration(spec.model_dump(mode="json"))
    if recipe in RECIPES and own == _configuration(RECIPES[recipe].spec.model_dump(mode="json")):
        return
    configuration = ExperimentRow.spec.op("-", return_type=JSONB)(cast(list(OF_A_RUN), ARRAY(Text)))
    best = (ExperimentRow.sweep_id.is_not(None), ExperimentRow.trial.is_(None))
    query = select(ExperimentRow.flags).where(*best, ExperimentRow.dataset == spec.dataset, configuration == own)
    for flags in session.scalars(query.order_by(ExperimentRow.id)):
        yield from (Finding(**flag) for flag in flags if flag["code"] == BEST)


def _started_from(session: Session, spec: ExperimentSpec) -> Iterator[Finding]:
    for field, weights in (pair for network in spec.networks for pair in network.first_weights):
        for part in weights if isinstance(weights, tuple) else (weights,):
            if not isinstance(part, StageWeights) or part.experiment is None:
                continue
            row = session.get(ExperimentRow, part.experiment)
            for flag in [] if row is None or row.dataset != spec.dataset else row.flags:
                if flag["code"] == BEST:
                    yield Finding(BEST, "flagged", field, f"{part.experiment}: {flag['sentence']}")


def _configuration(spec: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in spec.items() if name not in OF_A_RUN}
