"""Pictures of an experiment, drawn on request from what Postgres holds and what its stages have left."""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query, Response
from pydantic import BaseModel

from api import conditional
from api.deps import BackendDep, DatabaseDep, Id, Name
from services import figures
from services.figures import Choice
from services.figures.canvas import MEDIA_TYPES, Drawing, Form, Theme
from services.stores.artifacts import open_store

router = APIRouter(prefix="/experiments", tags=["figures"])

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'"
"""Of a picture that is opened by itself: SVG has styles and, of a matrix, a picture within; it runs nothing."""


class Figure(BaseModel):
    """A kind of picture.

    Attributes:
        available: whether the experiment has it by now.
        reason: why not, if not.
        parameters: by which its route lets the shown part be chosen.
        svg: where it is.
        png: likewise.
        webp: where it is as a film; null where it does not move.
        clips: of which it is there, with their frames; none of a figure that is of no clip.
    """

    name: str
    title: str
    available: bool
    reason: str | None
    parameters: list[str]
    svg: str
    png: str
    webp: str | None = None
    clips: list[str] = []


@router.get("/{experiment_id}/figures")
def listing(experiment_id: Id, database: DatabaseDep) -> list[Figure]:
    """List the figures, and why this experiment does not have some of them."""
    with database.transaction() as session:
        found = figures.listing(session, experiment_id)
        clips = figures.clips(session, experiment_id)
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
            webp=f"{base}/{figure.name}.webp" if figure.is_film else None,
            clips=list(clips.get(figure.name, ())),
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
    form: Form,
    backend: BackendDep,
    stream: Literal["rgb", "flow", "two-stream"] | None = None,
    split: Annotated[int | None, Query(ge=1, le=3)] = None,
    seed: Annotated[int | None, Query(ge=0, lt=2**31)] = None,
    baseline: Name | None = None,
    clip: Annotated[str | None, Query(min_length=1, max_length=300)] = None,
    theme: Theme = "light",
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Draw a figure as SVG or PNG; without `split` and `seed` it takes all of them together.

    `baseline` is the experiment over which `gain` is shown. `clip` is the test clip, by its id or the name of its file,
    on which `attention`, `memory`, `tubes` and `flow` are shown; `attention` is there as a film (`webp`) too. The same
    data draw the same bytes.
    """
    choice = Choice(stream, split, seed, baseline, clip)
    with backend.database.transaction() as session:
        found = figures.prepared(session, experiment_id, name, choice)
    return picture(figures.loaded(found, open_store(backend.settings)), form, theme, if_none_match)


def picture(drawing: Drawing, form: Form, theme: Theme, known: str | None) -> Response:
    """Return a drawing as a file, or 304 where the caller has it."""
    content = figures.filmed(drawing) if form == "webp" else figures.render(drawing, form, theme)
    headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()[:32]}"', "Cache-Control": "no-cache"}
    headers["Content-Security-Policy"] = POLICY
    if conditional.is_current(known, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=MEDIA_TYPES[form], headers=headers)
