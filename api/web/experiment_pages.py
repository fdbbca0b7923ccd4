"""The pages of experiments: the list with its search, and one with all that is known of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlencode

import yaml
from fastapi import Query, Request
from fastapi.responses import HTMLResponse

from api.board import Result, Stream
from api.catalogue import all_models
from api.deps import DatabaseDep, Id, SettingsDep
from api.shapes import Experiment, Stage
from api.web import stage_graph
from api.web.chart import charts
from api.web.fields import STATES, State, Text, worded
from api.web.negotiation import Pages
from api.web.printed import printed
from api.web.templates import page
from services import figures, registry, revisions
from services.board import results
from services.db.engine import Session
from services.db.tables import FINISHED, ExperimentRow
from services.journal import curves
from services.metrics import METRICS
from services.queue import experiments, workers
from services.recipes import RECIPES
from services.recipes.difference import body, differences
from services.settings import Settings
from services.tracking import tracker_state

PAGE = 50
LAST_WORDS = 1500
"""Characters of the log of an attempt that failed."""

router = Pages()


@router.get("/experiments", response_class=HTMLResponse)
def listing(
    *,
    request: Request,
    database: DatabaseDep,
    name: Text = "",
    owner: Text = "",
    model: Text = "",
    dataset: Text = "",
    state: State = "",
    cursor: Annotated[str, Query(pattern=f"^({experiments.CURSOR})?$")] = "",
) -> HTMLResponse:
    """Render the list of experiments, newest first."""
    query = {"name": name, "owner": owner, "model": model, "dataset": dataset, "state": state}
    wanted = {field: value or None for field, value in query.items()}
    with database.transaction() as session:
        found = experiments.page(session, **wanted, limit=PAGE, cursor=cursor or None)
        counts = experiments.counts(session, [row.id for row in found.items])
        datasets = [row.name for row in registry.listing(session)]
    context = {
        "items": [Experiment.of(row, counts[row.id]) for row in found.items],
        "total": found.total,
        "query": query,
        "searched": any(query.values()),
        "following": urlencode({**query, "cursor": found.next_cursor}) if found.next_cursor else "",
        "models": [model.kind for model in all_models().items],
        "datasets": datasets,
        "states": STATES,
    }
    return page(request, "experiments.html", context)


@router.get("/experiments/{experiment_id}", response_class=HTMLResponse)
def detail(
    request: Request,
    experiment_id: Id,
    database: DatabaseDep,
    settings: SettingsDep,
    stream: Stream | None = None,
    split: Annotated[str, Query(pattern=r"^[1-3]?$")] = "",
) -> HTMLResponse:
    """Render an experiment; `stream` and `split` choose what its confusion is of."""
    with database.transaction() as session:
        row = experiments.get(session, experiment_id)
        context = {
            **_progress(session, row),
            **_measured(session, row),
            "mlflow": _run_address(session, row, settings),
        }
    chosen = {name: value for name, value in (("stream", stream), ("split", split)) if value}
    context |= {"chosen": chosen, "figure_query": urlencode(chosen), **_spec(row)}
    return page(request, "experiment.html", context)


def _progress(session: Session, row: ExperimentRow) -> dict[str, Any]:
    """Return what changes while an experiment runs."""
    views = experiments.stages(session, row.id)
    reasons = {found.key: found.reason for found in workers.waiting_among(session, [view.row for view in views])}
    counts = experiments.counts(session, [row.id])[row.id]
    tried = experiments.attempts(session, row.id, LAST_WORDS)
    return {
        "experiment": Experiment.of(row, counts),
        "live": row.state not in FINISHED,
        "groups": stage_graph.groups([Stage.of(view) for view in views], reasons),
        "charts": charts(curves.of_experiment(session, row.id)),
        "attempts": tried,
        "failures": [attempt for attempt in tried if attempt.row.state == "failed"],
    }


def _measured(session: Session, row: ExperimentRow) -> dict[str, Any]:
    _, present = revisions.numbers(session, row.dataset)
    every = [Result.of(each, present) for each in results.listing(session, row.id)]
    found = [each for each in every if each.seed is None or len(row.spec["seeds"]) > 1]  # the mean of one says the same
    there = {name for result in found for name in result.metrics}
    return {
        **printed(session, row.id, every),
        "results": found,
        "metrics": [metric for name, metric in METRICS.items() if name in there],
        "figures": figures.listing(session, row.id),
        "streams": sorted({result.stream for result in found}),
        "splits": sorted({result.split for result in found if result.split is not None}),
    }


def _run_address(session: Session, row: ExperimentRow, settings: Settings) -> str | None:
    """Return where MLflow shows the experiment's run; None where that is not known yet."""
    folder = tracker_state.folder(session)
    if not (settings.mlflow_url and row.mlflow_run_id and folder):
        return None
    return f"{settings.mlflow_url.rstrip('/')}/#/experiments/{folder}/runs/{row.mlflow_run_id}"


def _spec(row: ExperimentRow) -> dict[str, Any]:
    recipe = RECIPES.get(row.recipe or "")
    return {
        "recipe": recipe,
        "differences": []
        if recipe is None
        else [(each, worded(each.recipe), worded(each.here)) for each in differences(row.spec, recipe.name)],
        "spec_yaml": _yaml(row.spec),
        "clone_yaml": _yaml(body(row.spec, row.recipe)),
    }


def _yaml(content: Mapping[str, Any]) -> str:
    options: dict[str, Any] = {"sort_keys": False, "allow_unicode": True, "default_flow_style": None, "width": 100}
    written: str = yaml.dump(dict(content), Dumper=yaml.CSafeDumper, **options)  # ten times as fast as that in Python
    return written
