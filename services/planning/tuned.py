"""What is doubtful of an experiment since a sweep tuned it: it repeats the best configuration, or starts from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import ARRAY, Text, cast, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from services.db.tables import ExperimentRow
from services.errors import Finding
from services.recipes import RECIPES
from services.specs import ExperimentSpec, StageWeights

CODE = "best_of_trials"
OF_A_RUN = ("name", "dataset", "splits", "seeds", "priority", "refresh", "resources")
"""Fields that say on what and how a configuration is run, and nothing of itself."""


def tuned(session: Session, spec: ExperimentSpec, recipe: str | None) -> tuple[Finding, ...]:
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
        yield from (Finding(**flag) for flag in flags if flag["code"] == CODE)


def _started_from(session: Session, spec: ExperimentSpec) -> Iterator[Finding]:
    for field, weights in (pair for network in spec.networks for pair in network.first_weights):
        for part in weights if isinstance(weights, tuple) else (weights,):
            row = session.get(ExperimentRow, part.experiment) if isinstance(part, StageWeights) else None
            if row is not None and row.dataset == spec.dataset:
                for flag in row.flags:
                    if flag["code"] == CODE:
                        yield Finding(CODE, "flagged", field, f"{row.id}: {flag['sentence']}")


def _configuration(spec: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in spec.items() if name not in OF_A_RUN}
