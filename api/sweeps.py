"""Sweeps: begin, list, look at, cancel; their trials as a table, and their pictures."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import JSONResponse
from pydantic import ValidationError

from api.authentication import SubmitterDep
from api.deps import DatabaseDep, Id, IdempotencyKey, JsonBody, Limit, Name, NoBody
from api.experiments import SUBMISSION_FIELDS
from api.field_errors import InvalidFields, checked, inlined, schema_of, translate
from api.figures import picture
from api.shapes import FieldError
from api.sweep_dry_run import SweepDryRun
from api.sweep_shapes import Sweep, SweepDetail, SweepPage, SweepState, SweepTrial, as_csv
from services import registry
from services.db.engine import Database
from services.errors import InvalidRequest
from services.figures.canvas import MEDIA_TYPES, Format, Theme
from services.planning import dry_run as trial
from services.planning import review
from services.planning.linter import require_sound
from services.specs.sweep import SweepSpec
from services.sweeps import analysis, foresight, sweeps
from services.sweeps.space import RefusedPoint, Space, opened, worded

router = APIRouter(prefix="/sweeps", tags=["sweeps"])

_EXAMPLES = {
    "recipe": {
        "summary": "twenty trials over the default space of a recipe's network",
        "value": {"experiment": {"recipe": "demo_ts_lstm"}, "budget": {"trials": 20}},
    },
    "space": {
        "summary": "a space of one's own",
        "value": {
            "experiment": {"recipe": "demo_ts_lstm"},
            "space": {
                "training.optimizer.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
                "model.segments": {"low": 1, "high": 7, "step": 2},
                "model.pooling": {"choices": ["max", "mean"]},
            },
            "sampler": {"kind": "tpe", "seed": 1},
            "pruner": {"kind": "successive_halving", "min_epochs": 3},
            "parallel": 4,
        },
    },
}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": inlined(schema_of(SweepSpec)), "examples": _EXAMPLES}},
    }
}
FigureName = Literal["importance", "contour"]
PICTURE: dict[int | str, dict[str, Any]] = {
    200: {"description": "the picture", "content": {kind: {} for kind in MEDIA_TYPES.values()}}
}


DRY: dict[int | str, dict[str, Any]] = {
    200: {"model": SweepDryRun, "description": "with `dry_run`: what the sweep would do; nothing is begun"}
}


@router.post("", status_code=202, response_model=Sweep, openapi_extra=_BODY, responses=DRY)
def begin(
    *,
    caller: SubmitterDep,
    body: JsonBody,
    database: DatabaseDep,
    response: Response,
    idempotency_key: IdempotencyKey = None,
    dry_run: bool = False,
) -> Sweep | JSONResponse:
    """Begin a sweep; the same `Idempotency-Key` and body give the same sweep again.

    All of the space is checked first: a field that is not there, or a value that the experiment refuses, is 422.
    With `dry_run` nothing is begun or written: the answer has the stages of a trial and of the best configuration, what
    trials share, and what all of it may take.
    """
    sweep, space = _opened(body)
    if dry_run:
        if idempotency_key is not None:
            raise InvalidRequest("Idempotency-Key", idempotency_key, "none with dry_run, which begins no sweep")
        return JSONResponse(_tried(database, sweep, space).model_dump(mode="json"))
    if space.base.refresh:
        registry.refresh(database, space.base.dataset, caller)
    _require_sound(database, sweep, space)
    digest = hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    made = database.run(
        lambda session: sweeps.begin(
            session, sweep, space, owner=caller.name, body_digest=digest, idempotency_key=idempotency_key
        )
    )
    with database.transaction() as session:
        counts = sweeps.counts(session, [made.row.id])[made.row.id]
    response.headers["Location"] = f"/sweeps/{made.row.id}"
    if not made.created:
        response.headers["Idempotency-Replayed"] = "true"
    return Sweep.of(made.row, counts)


@router.get("")
def listing(
    database: DatabaseDep,
    state: SweepState | None = None,
    dataset: Name | None = None,
    owner: Name | None = None,
    id: Annotated[str | None, Query(pattern="^swp_[0-9a-f]{0,36}$")] = None,  # noqa: A002 - the name of the parameter
    limit: Limit = 50,
    cursor: Annotated[str | None, Query(pattern=f"^{sweeps.CURSOR}$")] = None,
) -> SweepPage:
    """List sweeps, newest first; `id` is the beginning of one."""
    with database.transaction() as session:
        page = sweeps.page(session, state=state, dataset=dataset, owner=owner, id_=id, limit=limit, cursor=cursor)
        counts = sweeps.counts(session, [row.id for row in page.items])
    items = [Sweep.of(row, counts[row.id]) for row in page.items]
    return SweepPage(items=items, next_cursor=page.next_cursor, total=page.total)


@router.get("/{sweep_id}")
def detail(sweep_id: Id, database: DatabaseDep) -> SweepDetail:
    """Return a sweep with its trials, what mattered, and its best configuration."""
    with database.transaction() as session:
        view = sweeps.view(session, sweep_id)
    return SweepDetail.of_view(view)


@router.get(
    "/{sweep_id}/trials",
    response_model=list[SweepTrial],
    responses={200: {"description": "the trials by number", "content": {"text/csv": {}}}},
)
def trials(sweep_id: Id, database: DatabaseDep, format: Literal["json", "csv"] = "json") -> Any:  # noqa: A002
    """Return the trials of a sweep, as JSON or as CSV with a column for each field of its space."""
    with database.transaction() as session:
        row = sweeps.get(session, sweep_id)
        found = [SweepTrial.of(each) for each in sweeps.trials(session, sweep_id)]
    if format == "json":
        return found
    name = {"Content-Disposition": f'attachment; filename="{row.id}.csv"'}
    return Response(as_csv(sweeps.spec_of(row)[0], found), media_type="text/csv; charset=utf-8", headers=name)


@router.get("/{sweep_id}/figures/{name}.{form}", response_class=Response, responses=PICTURE)
def figure(
    *,
    sweep_id: Id,
    name: FigureName,
    form: Format,
    database: DatabaseDep,
    x: Name | None = None,
    y: Name | None = None,
    theme: Theme = "light",
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Draw a picture of a sweep: the `importance` of its fields, or the accuracy over two of them as a `contour`.

    `x` and `y` are fields of its space, the two most important ones where they are not given.
    """
    with database.transaction() as session:
        row = sweeps.get(session, sweep_id)
        found = sweeps.trials(session, sweep_id)
    _, space = sweeps.spec_of(row)
    title = f"{row.name[:80]}: {'what mattered' if name == 'importance' else 'accuracy of its trials'}"
    if name == "importance":
        for field, given in (("x", x), ("y", y)):
            if given is not None:
                raise InvalidRequest(field, given, "none: importance is of all fields")
        return picture(analysis.importance_of(title, found, space.axes), form, theme, if_none_match)
    return picture(analysis.contour_of(title, found, space.axes, x, y), form, theme, if_none_match)


@router.post("/{sweep_id}/cancel", status_code=202)
def cancel(sweep_id: Id, caller: SubmitterDep, _: NoBody, database: DatabaseDep) -> Sweep:
    """Cancel a sweep of one's own, with all of its trials that run."""
    row = sweeps.cancel(database, sweep_id, caller)
    with database.transaction() as session:
        return Sweep.of(row, sweeps.counts(session, [sweep_id])[sweep_id])


def _opened(body: dict[str, Any]) -> tuple[SweepSpec, Space]:
    """Return what a body asks for, all of it checked."""
    sweep = checked(SweepSpec, body)
    try:
        return sweep, opened(sweep)
    except ValidationError as error:
        raise InvalidFields([_below(each) for each in _translated(error)]) from error
    except RefusedPoint as error:
        raise InvalidFields([_of_corner(each, error) for each in _translated(error.error)]) from error


def _translated(error: ValidationError) -> list[FieldError]:
    return translate(error.errors(include_url=False), SUBMISSION_FIELDS)


def _below(error: FieldError) -> FieldError:
    return FieldError.of(f"experiment.{error.field}", error.value, error.allowed)


def _of_corner(error: FieldError, corner: RefusedPoint) -> FieldError:
    """Say which axis a refused value comes from, and with which other values."""
    own = next((path for path in corner.values if error.field == path or error.field.startswith(f"{path}.")), None)
    if own is None:
        return FieldError.of("space", dict(corner.values), f"{error.field}: {error.allowed}; it got {error.value!r}")
    others = {path: value for path, value in corner.values.items() if path != own}
    allowed = f"{error.allowed}; with {worded(others)}" if others else error.allowed
    return FieldError.of(f"space.{error.field}", error.value, allowed)


def _tried(database: Database, sweep: SweepSpec, space: Space) -> SweepDryRun:
    seen = registry.look_again(database, space.base.dataset)
    facts = review.look(database, space.base.dataset, seen)
    with _of_experiment(), database.transaction() as session:
        return SweepDryRun.of(sweep, space, foresight.foresee(session, sweep, space, seen, facts))


def _require_sound(database: Database, sweep: SweepSpec, space: Space) -> None:
    """Refuse what would refuse every trial: an unknown dataset, lists that leak, weights that saw test clips."""
    spec = space.best(sweep, {}).model_copy(update={"refresh": False})
    seen = registry.look_again(database, spec.dataset)
    facts = review.look(database, spec.dataset, seen)
    with _of_experiment(), database.transaction() as session:
        foreseen = trial.foresee(session, spec, space.recipe, seen, facts)
    require_sound(foreseen.findings)


@contextmanager
def _of_experiment() -> Iterator[None]:
    """Name the field of the experiment as one of the sweep."""
    try:
        yield
    except InvalidRequest as error:
        raise InvalidRequest(f"experiment.{error.field}", error.value, error.allowed) from error
