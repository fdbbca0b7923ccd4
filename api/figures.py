"""Pictures of an experiment, drawn on request from what Postgres holds."""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query, Response
from pydantic import BaseModel

from api.deps import DatabaseDep, Id, Name
from services import figures
from services.figures import Choice
from services.figures.canvas import MEDIA_TYPES, Format, Theme

router = APIRouter(prefix="/experiments", tags=["figures"])


class Figure(BaseModel):
    """A kind of picture.

    Attributes:
        available: whether the experiment has it by now.
        reason: why not, if not.
        parameters: by which its route lets the shown part be chosen.
        svg: where it is.
        png: likewise.
    """

    name: str
    title: str
    available: bool
    reason: str | None
    parameters: list[str]
    svg: str
    png: str


@router.get("/{experiment_id}/figures")
def listing(experiment_id: Id, database: DatabaseDep) -> list[Figure]:
    """List the figures, and why this experiment does not have some of them."""
    with database.transaction() as session:
        found = figures.listing(session, experiment_id)
    base = f"/experiments/{experiment_id}/figures"
    return [
        Figure(
            name=figure.name,
            title=figure.title,
            available=reason is None,
            reason=reason,
            parameters=list(figure.parameters),
            svg=f"{base}/{figure.name}.svg",
            png=f"{base}/{figure.name}.png",
        )
        for figure, reason in found
    ]


@router.get(
    "/{experiment_id}/figures/{name}.{form}",
    response_class=Response,
    responses={200: {"description": "the picture", "content": {kind: {} for kind in MEDIA_TYPES.values()}}},
)
def figure(
    *,
    experiment_id: Id,
    name: Id,
    form: Format,
    database: DatabaseDep,
    stream: Literal["rgb", "flow", "two-stream"] | None = None,
    split: Annotated[int | None, Query(ge=1, le=3)] = None,
    seed: Annotated[int | None, Query(ge=0, lt=2**31)] = None,
    baseline: Name | None = None,
    theme: Theme = "light",
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Draw a figure as SVG or PNG; without `split` and `seed` it takes all of them together.

    `baseline` is the experiment over which `gain` is shown. The same data draw the same bytes.
    """
    choice = Choice(stream, split, seed, baseline)
    with database.transaction() as session:
        drawing = figures.prepared(session, experiment_id, name, choice)
    content = figures.render(drawing, form, theme)
    headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()[:32]}"', "Cache-Control": "no-cache"}
    if if_none_match == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=MEDIA_TYPES[form], headers=headers)
