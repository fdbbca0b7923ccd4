"""The pages of experiments: the list with its search, and one with all that is known of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

import yaml
from fastapi import Query, Request
from fastapi.responses import HTMLResponse

from api.board import Result, Stream
from api.deps import Backend, BackendDep, DatabaseDep, Id
from api.foresight import Foresight
from api.leaderboard import MODELS, require_model
from api.shapes import Experiment, Seconds, Stage
from api.web import stage_graph
from api.web.chart import charts
from api.web.fields import STATES, State, Text, Watched, worded
from api.web.negotiation import Pages
from api.web.printed import printed
from api.web.sparklines import sparks
from api.web.templates import answer, page, rendered
from services import figures, registry, revisions
from services.board import results
from services.db.engine import Session
from services.db.tables import FINISHED, ExperimentRow
from services.journal import curves, events
from services.metrics import of_boxes, of_scores
from services.queue import experiments, graph, outline, use, workers
from services.recipes import RECIPES
from services.recipes.difference import body, differences
from services.settings import Settings
from services.tracking.addresses import artifacts_page, run_page

PAGE, COUNTED = 50, 10_000
"""Experiments on a page of the list; at how many the number of all ends. Those of a name are not counted: it would read
all names a second time."""
SHORTEST_PAUSE, FETCHES = 5.0, 2.0
"""Seconds between two fetches by the script of one open page; fetches a second by those of all."""
ATTEMPTS = 60
"""That are listed, those that began last; with `stages=all` every one is."""
LAST_WORDS = 1500
"""Characters of the log of an attempt that failed."""

router = Pages()


@router.get("/experiments", response_class=HTMLResponse)
def listing(
    *,
    request: Request,
    database: DatabaseDep,
    search: Text = "",
    name: Text = "",
    owner: Text = "",
    tag: Text = "",
    archived: Literal["", "only", "any"] = "",
    model: Text = "",
    dataset: Text = "",
    state: State = "",
    cursor: Annotated[str, Query(pattern=f"^({experiments.CURSOR})?$")] = "",
) -> HTMLResponse:
    """Render the list of experiments, newest first."""
    require_model(model or None)
    query = {"name": name, "owner": owner, "model": model, "dataset": dataset, "state": state}
    wanted: dict[str, Any] = {field: value or None for field, value in query.items()}
    wanted |= {
        "words": search or None,
        "tags": tag.replace(",", " ").split(),
        "archived": archived or "no",
    }
    query |= {"search": search, "tag": tag, "archived": archived}
    with database.transaction() as session:
        found = experiments.page(session, **wanted, limit=PAGE, cursor=cursor or None, count_to=0 if name else COUNTED)
        counts = experiments.counts(session, [row.id for row in found.items])
        datasets = [row.name for row in registry.listing(session)]
    context = {
        "items": [Experiment.of(row, counts[row.id]) for row in found.items],
        "total": found.total,
        "uncounted": found.total == COUNTED,
        "query": query,
        "searched": any(query.values()),
        "following": urlencode({**query, "cursor": found.next_cursor}) if found.next_cursor else "",
        "models": MODELS,
        "datasets": datasets,
        "states": STATES,
    }
    return page(request, "experiments.html", context)


@router.get("/experiments/{experiment_id}", response_class=HTMLResponse)
def detail(
    *,
    request: Request,
    experiment_id: Id,
    backend: BackendDep,
    stream: Stream | None = None,
    split: Annotated[str, Query(pattern=r"^[1-3]?$")] = "",
    clip: Text = "",
    stages: Literal["", "all"] = "",
    watched: Watched = None,
) -> HTMLResponse:
    """Render an experiment; `stream` and `split` choose what its confusion is of, `clip` what is drawn on frames.

    `stages=all` gives each stage a line, where some of many stand together else.

    The script of a page that stays open says by `Twostream-Watched` of which event it has heard last, and gets the
    parts that change while an experiment runs. They are the same for all who watch, whatever they have chosen, and
    made every few seconds at most: 204 is the answer while those with that event are yet to be made. `Twostream-Pause`
    says after how many seconds to ask again.
    """

    def live() -> tuple[int, bytes]:
        with backend.database.transaction() as session:
            told = events.position(session)
            row = experiments.get(session, experiment_id)
            context = _progress(session, row, backend.foresight, each=bool(stages)) | _measured(session, row)
        return told, rendered(request, "live.html", {"told": told, **context})

    if watched is None:
        chosen = {name: value for name, value in (("stream", stream), ("split", split)) if value}
        context = {"chosen": chosen, "figure_query": urlencode(chosen), "clip": clip}
        return _whole(request, backend, experiment_id, context, each=bool(stages))
    viewers = sum(request.app.state.open_streams.values())
    pause = max(SHORTEST_PAUSE, viewers / FETCHES)
    content, left = backend.live.due(f"{experiment_id} {stages}", watched, pause, live)
    found = answer(b"", 204) if content is None else answer(content)
    found.headers["Twostream-Pause"] = f"{left:.1f}"
    return found


def _whole(
    request: Request, backend: Backend, experiment_id: str, context: dict[str, Any], *, each: bool
) -> HTMLResponse:
    """Return the page with all that it has."""
    with backend.database.transaction() as session:
        told = events.position(session)
        row = experiments.get(session, experiment_id)
        context |= _progress(session, row, backend.foresight, each=each) | _measured(session, row)
        context |= _attempts(session, row, None if each else ATTEMPTS) | _pictures(session, row)
    context |= {"told": told, "mlflow": _addresses(row, backend.settings), **_spec(row)}
    return page(request, "experiment.html", context)


def _progress(session: Session, row: ExperimentRow, foresight: Foresight, *, each: bool) -> dict[str, Any]:
    """Return what changes while an experiment runs."""
    plan = outline.of_experiment(session, row.id)
    groups = stage_graph.groups(plan, each=each)
    views = outline.in_full(session, plan, [line.key for group in groups for line in group.lines])
    waiting = workers.waiting_among(session, [view.row for view in views])
    alone = [key for group in groups for key in group.alone]
    ahead = None if row.state in FINISHED else foresight.look(session)
    unfinished = [stage.key for stage in plan if stage.state in graph.UNFINISHED]
    return {
        "experiment": Experiment.of(row, Counter(stage.state for stage in plan)),
        "live": row.state not in FINISHED,
        "left": Seconds.of(ahead.until_all_end(unfinished)) if ahead else None,
        "uses": {found.stage_key: sparks(found) for found in use.of_experiment(session, row.id, keys=alone)},
        "groups": groups,
        "stages": {view.row.key: Stage.of(view, ahead) for view in views},
        "reasons": {found.key: found.reason for found in waiting},
        "together": len(alone) < len(plan),
        "each_stage": each,
        "charts": charts(curves.of_experiment(session, row.id)),
    }


def _attempts(session: Session, row: ExperimentRow, latest: int | None) -> dict[str, Any]:
    """Return what was tried, and what failed with its last words."""
    tried = experiments.attempts(session, row.id, LAST_WORDS, latest)
    return {
        "attempts": tried,
        "earlier": len(tried) == latest,
        "failures": [attempt for attempt in tried if attempt.row.state == "failed"],
    }


def _measured(session: Session, row: ExperimentRow) -> dict[str, Any]:
    written = results.listing(session, row.id)
    present = revisions.numbers(session, row.dataset)[1] if written else 0
    every = [Result.of(each, present) for each in written]
    found = [each for each in every if each.seed is None or len(row.spec["seeds"]) > 1]  # the mean of one says the same
    there = {name for result in found for name in result.metrics}
    return {
        **printed(session, row.id, every),
        "results": found,
        "metrics": [metric for name, metric in of_scores().items() if name in there],
        "overlaps": [metric for name, metric in of_boxes().items() if name in there],
        "boxed": [each for each in found if each.seed is None and of_boxes().keys() & each.metrics.keys()],
        "board_of": lambda result, metric: urlencode(_board(row.dataset, result, metric)),
        "streams": sorted({result.stream for result in found}),
        "splits": sorted({result.split for result in found if result.split is not None}),
    }


def _pictures(session: Session, row: ExperimentRow) -> dict[str, Any]:
    return {"figures": figures.listing(session, row.id), "pictured": figures.clips(session, row.id)}


def _board(dataset: str, result: Result, metric: str) -> dict[str, Any]:
    """Return what asks for the board on which a metric of a result is ranked."""
    split = "mean" if result.split is None else result.split
    return {"dataset": dataset, "stream": result.stream, "split": split, "metric": metric}


def _addresses(row: ExperimentRow, settings: Settings) -> Mapping[str, str]:
    """Return where MLflow shows the experiment's run and its files, by words; nothing where that is not known yet."""
    if not (settings.mlflow_url and row.mlflow_run_id and row.mlflow_folder_id):
        return {}
    where = (settings.mlflow_url, row.mlflow_folder_id, row.mlflow_run_id)
    return {"Run in MLflow": run_page(*where), "Artifacts": artifacts_page(*where)}


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
