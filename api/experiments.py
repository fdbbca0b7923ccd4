"""Experiments: submit, list, look at, cancel, try again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, BackgroundTasks, Query, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from api.authentication import SubmitterDep
from api.board import Result
from api.deps import BrokerDep, DatabaseDep, ForesightDep, Id, IdempotencyKey, JsonBody, Limit, Name, NoBody
from api.dry_run import DryRun
from api.edits import TAG
from api.field_errors import checked, checked_as, inlined, schema_of
from api.leaderboard import MODELS, require_model
from api.shapes import WAITING, Experiment, ExperimentDetail, ExperimentPage, ExperimentState, Seconds, Stage
from services import recipes, registry, revisions
from services.board import results as measured
from services.db.engine import Database, Session
from services.db.tables import FINISHED
from services.errors import InvalidRequest
from services.planning import dry_run as trial
from services.planning import review, submission
from services.queue import experiments, outlook
from services.specs import EnsembleSpec, ExperimentSpec

router = APIRouter(prefix="/experiments", tags=["experiments"])

_SPEC = schema_of(ExperimentSpec)
_RECIPE = {"type": "string", "enum": list(recipes.RECIPES)}
SUBMISSION_FIELDS = {**_SPEC, "properties": {"recipe": _RECIPE, **_SPEC["properties"]}}
_NAMED = {"type": "object", "required": ["recipe"], "properties": {"recipe": _RECIPE}}
_SUBMISSION = {
    "description": "an experiment, or `recipe: NAME` with the fields that differ from the recipe's, or an ensemble",
    "anyOf": [{"$ref": "#/components/schemas/ExperimentSpec"}, _NAMED, inlined(schema_of(EnsembleSpec))],
}
_EXAMPLES = {
    "recipe": {"summary": "a recipe, with other seeds", "value": {"recipe": "demo_ts_lstm", "seeds": [0, 1]}},
    "spec": {
        "summary": "a system of one's own",
        "value": {
            "name": "LSTM on rgb",
            "dataset": "motion_shapes",
            "streams": ["rgb"],
            "model": {"kind": "lstm"},
            "backbone": {"name": "tiny", "finetune": None},
        },
    },
}
SUBMISSION = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": _SUBMISSION, "examples": _EXAMPLES}}}
}


DRY: dict[int | str, dict[str, Any]] = {
    200: {"model": DryRun, "description": "with `dry_run`: what the experiment would do; nothing is queued"}
}


@router.post("", status_code=202, response_model=Experiment, openapi_extra=SUBMISSION, responses=DRY)
def submit(
    *,
    caller: SubmitterDep,
    body: JsonBody,
    database: DatabaseDep,
    broker: BrokerDep,
    response: Response,
    after: BackgroundTasks,
    idempotency_key: IdempotencyKey = None,
    dry_run: bool = False,
) -> Experiment | JSONResponse:
    """Queue an experiment; the same `Idempotency-Key` and body give the same experiment again.

    With `dry_run` nothing is queued or written: the answer has the stages, and what they may take.
    """
    spec, recipe = _resolved(body)
    if dry_run:
        if idempotency_key is not None:
            raise InvalidRequest("Idempotency-Key", idempotency_key, "none with dry_run, which makes no experiment")
        return JSONResponse(_tried(database, spec, recipe).model_dump(mode="json"))
    if spec.refresh:
        registry.refresh(database, spec.dataset, caller)
    seen = registry.look_again(database, spec.dataset)
    facts = review.look(database, spec.dataset, seen)
    made = database.run(
        lambda session: submission.submit(
            session,
            spec,
            owner=caller.name,
            recipe=recipe,
            idempotency_key=idempotency_key,
            body_digest=_digest(body),
            seen=seen,
            facts=facts,
        )
    )
    answer = Experiment.of(made.row, made.states)
    after.add_task(broker.ring, made.queues)
    response.headers["Location"] = f"/experiments/{answer.id}"
    if not made.created:
        response.headers["Idempotency-Replayed"] = "true"
    return answer


@router.get("")
def listing(
    database: DatabaseDep,
    state: ExperimentState | None = None,
    dataset: Name | None = None,
    name: Name | None = None,
    owner: Name | None = None,
    model: Annotated[Name | None, Query(json_schema_extra={"enum": MODELS})] = None,
    search: Name | None = None,
    tag: Annotated[str | None, Query(pattern=f"^{TAG}(,{TAG}){{0,9}}$")] = None,
    archived: experiments.Archived = "no",
    id: Annotated[str | None, Query(pattern="^exp_[0-9a-f]{0,36}$")] = None,  # noqa: A002 - the name of the parameter
    sweep: Annotated[str | None, Query(pattern="^swp_[0-9a-f]{1,36}$")] = None,
    limit: Limit = 50,
    cursor: Annotated[str | None, Query(pattern=f"^{experiments.CURSOR}$")] = None,
) -> ExperimentPage:
    """List experiments, newest first; `name` is a part, `id` a beginning of it, `model` the kind of a network in it.

    `search` finds those that have all of its words, or words that begin so, in name, owner, tags, note, dataset,
    recipe, state or kind of network. `tag` names tags between commas, of which they have all. Archived ones are left
    out unless `archived` is `only` or `any`.
    `sweep` leaves those that a sweep submitted: its trials, and the best of them trained as a whole.
    """
    require_model(model)
    wanted = {"state": state, "dataset": dataset, "name": name, "owner": owner, "model": model, "id_": id}
    wanted["sweep"] = sweep
    with database.transaction() as session:
        page = experiments.page(
            session,
            **wanted,
            words=search,
            tags=() if tag is None else tag.split(","),
            archived=archived,
            limit=limit,
            cursor=cursor,
            count_to=None,
        )
        counts = experiments.counts(session, [row.id for row in page.items])
    items = [Experiment.of(row, counts[row.id]) for row in page.items]
    return ExperimentPage(items=items, next_cursor=page.next_cursor, total=page.total)


@router.get("/{experiment_id}")
def detail(experiment_id: Id, database: DatabaseDep, foresight: ForesightDep) -> ExperimentDetail:
    """Return an experiment with its whole spec."""
    with database.transaction() as session:
        row = experiments.get(session, experiment_id)
        counts = experiments.counts(session, [row.id])[row.id]
        left = None
        if row.state not in FINISHED:
            left = outlook.of_experiment(session, foresight.look(session), row.id)
    return ExperimentDetail.of(row, counts, spec=row.spec, time_left_seconds=Seconds.of(left))


@router.get("/{experiment_id}/stages")
def stages(experiment_id: Id, database: DatabaseDep, foresight: ForesightDep) -> list[Stage]:
    """Return the plan of an experiment: its stages in order, and which of them were there before it."""
    with database.transaction() as session:
        found = experiments.stages(session, experiment_id)
        unfinished = any(view.row.state in (*WAITING, "running") for view in found)
        ahead = foresight.look(session) if unfinished else None
    return [Stage.of(view, ahead) for view in found]


@router.get("/{experiment_id}/results")
def results(experiment_id: Id, database: DatabaseDep) -> list[Result]:
    """Return what each stream reached by split and seed, and the means; empty until scores are fused."""
    with database.transaction() as session:
        dataset = experiments.get(session, experiment_id).dataset
        _, present = revisions.numbers(session, dataset)
        found = measured.listing(session, experiment_id)
    return [Result.of(row, present) for row in found]


@router.get("/{experiment_id}/logs", response_class=PlainTextResponse)
def logs(experiment_id: Id, database: DatabaseDep, stage: Name | None = None) -> str:
    """Return the end of each attempt's log; `stage` selects by name or by the beginning of the key."""
    with database.transaction() as session:
        chosen = experiments.logs(session, experiment_id, stage)
    return "\n".join(f"==> {log.label}, attempt {log.number}, {log.state} <==\n{log.text}" for log in chosen)


@router.post("/{experiment_id}/cancel", status_code=202)
def cancel(experiment_id: Id, caller: SubmitterDep, _: NoBody, database: DatabaseDep) -> Experiment:
    """Cancel an experiment of one's own; stages that others need go on."""

    def work(session: Session) -> Experiment:
        row = experiments.cancel(session, experiment_id, caller)
        return Experiment.of(row, experiments.counts(session, [row.id])[row.id])

    return database.run(work)


@router.post("/{experiment_id}/retry", status_code=202)
def retry(
    experiment_id: Id,
    caller: SubmitterDep,
    _: NoBody,
    database: DatabaseDep,
    broker: BrokerDep,
    after: BackgroundTasks,
) -> Experiment:
    """Run the failed and cancelled stages of one's own experiment again; finished ones are kept."""

    def work(session: Session) -> tuple[Experiment, Mapping[str, int]]:
        made = experiments.retry(session, experiment_id, caller)
        return Experiment.of(made.row, experiments.counts(session, [made.row.id])[made.row.id]), made.queues

    answer, queues = database.run(work)
    after.add_task(broker.ring, queues)
    return answer


def _tried(database: Database, spec: ExperimentSpec | EnsembleSpec, recipe: str | None) -> DryRun:
    seen = registry.look_again(database, spec.dataset)
    facts = review.look(database, spec.dataset, seen)
    with database.transaction() as session:
        return DryRun.of(spec, recipe, trial.foresee(session, spec, recipe, seen, facts))


def _resolved(body: dict[str, Any]) -> tuple[ExperimentSpec | EnsembleSpec, str | None]:
    """Return what a body submits, and the recipe that it names; one with members is an ensemble."""
    if "members" in body:
        return checked(EnsembleSpec, body), None
    with checked_as(SUBMISSION_FIELDS):
        return recipes.resolve(body)


def _digest(body: dict[str, Any]) -> str:
    """Return the SHA-256 of a body, whatever the order of its fields."""
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
