"""Score files that users bring: taken, checked against a dataset's lists, listed."""

from __future__ import annotations

import tempfile
from datetime import datetime
from pathlib import Path
from typing import Annotated, BinaryIO, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from api.authentication import SubmitterDep
from api.board import Stream
from api.deps import BackendDep, DatabaseDep, Id, Name
from services.scores import uploads
from services.scores.external import Format
from services.scores.files import ScoreKind
from services.stores.artifacts import open_store
from services.texts import Title

router = APIRouter(prefix="/scores", tags=["scores"])

_FILE = {"schema": {"type": "string", "format": "binary"}}
FILE = {"requestBody": {"required": True, "content": {"application/octet-stream": _FILE}}}


class ScoreUpload(BaseModel):
    """Class scores that a user brought; ``id`` is the hash of what they say, by which ensembles name them."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    uploaded: Literal[True] = True
    name: str
    owner: str
    dataset: str
    revision: int
    split: int
    stream: Stream
    kind: ScoreKind
    clips: int
    classes: int
    created_at: datetime


@router.get("")
def listing(database: DatabaseDep, dataset: Name | None = None) -> list[ScoreUpload]:
    """List the score files that users brought, newest first."""
    with database.transaction() as session:
        return [ScoreUpload.model_validate(row) for row in uploads.listing(session, dataset)]


@router.get("/{upload_id}")
def detail(upload_id: Id, database: DatabaseDep) -> ScoreUpload:
    """Return what is known of one score file."""
    with database.transaction() as session:
        return ScoreUpload.model_validate(uploads.get(session, upload_id))


@router.post("", status_code=201, openapi_extra=FILE)
async def add(
    *,
    caller: SubmitterDep,
    backend: BackendDep,
    request: Request,
    response: Response,
    dataset: Name,
    split: Annotated[int, Query(ge=1, le=3)],
    stream: Stream,
    name: Title = "untitled",
    kind: ScoreKind = "probabilities",
    file_type: Format = "csv",
) -> ScoreUpload:
    """Take a score file of a split's test clips, as CSV, Parquet or npz of at most 200 MB.

    CSV and Parquet have a column `clip`, one for each class, and `label` if you like; npz has `clips`, `classes`,
    `scores` and, if you like, `labels`. `kind=logits` takes scores of any scale. Equal scores are there once: 200
    answers whoever brings them again.
    """
    wanted = uploads.Upload(name, caller.name, dataset, split, stream, kind, file_type)
    await run_in_threadpool(backend.settings.work.mkdir, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="upload-", dir=backend.settings.work) as folder:
        path = Path(folder) / "scores"
        with path.open("wb") as file:
            await _receive(request, file)
        store = open_store(backend.settings)
        row, is_new = await run_in_threadpool(uploads.add, backend.database, store, wanted, path)
    response.status_code = 201 if is_new else 200
    response.headers["Location"] = f"/scores/{row.id}"
    return ScoreUpload.model_validate(row)


async def _receive(request: Request, file: BinaryIO) -> None:
    """Write a body to a file as it comes.

    Raises:
        HTTPException: 400 for one that broke off; 408 and 413 come from `BodyLimit`.
    """
    try:
        async for chunk in request.stream():
            await run_in_threadpool(file.write, chunk)
    except ClientDisconnect as error:
        raise HTTPException(400, "the request's body broke off") from error
