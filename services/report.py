"""What a run leaves: all that someone needs who is to believe an experiment's numbers, or to make them again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.board import paper_table, results
from services.board.choice import chosen_on_test
from services.board.results import Result
from services.db.tables import AttemptRow, ExperimentRow, ExperimentStreamRow, ProtocolRow
from services.queue import experiments
from services.queue.experiments import StageView
from services.recipes import RECIPES, difference


@dataclass(frozen=True)
class Attempted:
    """A stage of an experiment with all attempts at it; each has the place of its environment in the report's list."""

    view: StageView
    attempts: Sequence[tuple[AttemptRow, int | None]]

    @property
    def data_wait_ratio(self) -> float | None:
        """The part of a training's time that it waited for data, 0 to 1; None of other stages."""
        value = (self.view.row.summary or {}).get("data_wait_ratio")
        return value if isinstance(value, float) else None


@dataclass(frozen=True)
class Manifest:
    """What the `index` stage read of a dataset; hashes are None until it has."""

    dataset: str
    revision: int
    digest: str | None
    lists: str | None
    clips: int | None


@dataclass(frozen=True)
class Measure:
    """How a stream of an experiment is measured."""

    stream: str
    model: str
    source: str
    uploaded: bool
    protocol: str
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class Report:
    """What a run leaves.

    Attributes:
        row: the experiment, with spec, recipe, flags and the revision of the code that took it.
        counts: its stages by state.
        manifests: of its dataset, and of those on which weights were trained from which it starts.
        measures: how each stream is measured.
        deviations: from the paper of its recipe, and of the rows of papers' tables behind which it stands, in words by
            name.
        environments: each in which an attempt ran, once.
        stages: in the order of the plan.
        results: what it reached so far.
        body: the shortest submission that makes the same spec.
    """

    row: ExperimentRow
    counts: Mapping[str, int]
    manifests: Sequence[Manifest]
    measures: Sequence[Measure]
    deviations: Mapping[str, str]
    environments: Sequence[Mapping[str, Any]]
    stages: Sequence[Attempted]
    results: Sequence[Result]
    body: Mapping[str, Any]

    @property
    def command(self) -> str:
        """The one command that submits it again."""
        return f"twostream submit - <<'SPEC'\n{json.dumps(self.body)}\nSPEC"


def report(session: Session, experiment_id: str) -> Report:
    """Return what an experiment leaves so far, or raise ``NotFound``."""
    row = experiments.get(session, experiment_id)
    views = experiments.stages(session, experiment_id)
    stages, environments = _attempted(session, views)
    measures = _measures(session, row)
    return Report(
        row=row,
        counts=experiments.counts(session, [row.id])[row.id],
        manifests=[_manifest(view) for view in views if view.row.kind == "index"],
        measures=measures,
        deviations={**_of_recipe(row, measures), **_of_papers(session, experiment_id)},
        environments=environments,
        stages=stages,
        results=results.listing(session, experiment_id),
        body=difference.body(row.spec, row.recipe),
    )


def _of_recipe(row: ExperimentRow, measures: Sequence[Measure]) -> Mapping[str, str]:
    """Return where a recipe differs from its paper, but for an epoch that the experiment chooses as the paper does."""
    recipe = RECIPES.get(row.recipe or "")
    found = {} if recipe is None else recipe.deviations
    on_test = bool(measures) and all(chosen_on_test(measure.fields) for measure in measures)
    return {name: words for name, words in found.items() if not (on_test and name == "selection")}


def _of_papers(session: Session, experiment_id: str) -> Mapping[str, str]:
    figures = (figure for figure, _ in paper_table.of_experiment(session, experiment_id))
    return {name: words for figure in figures for name, words in figure.deviations.items()}


def _attempted(session: Session, views: Sequence[StageView]) -> tuple[list[Attempted], list[Mapping[str, Any]]]:
    """Return stages with their attempts, and the environments of these."""
    query = select(AttemptRow).where(AttemptRow.stage_key.in_([view.row.key for view in views]))
    places: dict[str, int] = {}
    attempts: dict[str, list[tuple[AttemptRow, int | None]]] = {}
    for row in session.scalars(query.order_by(AttemptRow.number)):
        place = None
        if row.environment is not None:
            place = places.setdefault(json.dumps(row.environment, sort_keys=True), len(places))
        attempts.setdefault(row.stage_key, []).append((row, place))
    return [Attempted(view, attempts.get(view.row.key, ())) for view in views], [json.loads(text) for text in places]


def _manifest(view: StageView) -> Manifest:
    params, summary = view.row.params, view.row.summary or {}
    return Manifest(
        dataset=params["dataset"],
        revision=params["revision"],
        digest=summary.get("digest"),
        lists=summary.get("lists"),
        clips=summary.get("clips"),
    )


def _measures(session: Session, row: ExperimentRow) -> list[Measure]:
    query = (
        select(ExperimentStreamRow, ProtocolRow)
        .join(ProtocolRow, ProtocolRow.digest == ExperimentStreamRow.protocol)
        .where(ExperimentStreamRow.experiment_id == row.id)
        .order_by(ExperimentStreamRow.stream)
    )
    return [
        Measure(stream.stream, stream.model, stream.source, stream.uploaded, protocol.line, protocol.fields)
        for stream, protocol in session.execute(query)
    ]
