"""Models to take home: a trained system as one file."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from typing import Annotated, Any, BinaryIO

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from api.deps import BackendDep, Id
from services.bundles.export import bundle
from services.bundles.graph import System
from services.stores.artifacts import open_store

router = APIRouter(prefix="/experiments", tags=["experiments"])

CHUNK_BYTES = 1 << 20
ZIP = "application/zip"
FILE: dict[int | str, dict[str, Any]] = {
    200: {"content": {ZIP: {"schema": {"type": "string", "format": "binary"}}}, "description": "a model bundle"}
}


@router.get("/{experiment_id}/model", response_class=StreamingResponse, responses=FILE)
def model(
    experiment_id: Id,
    backend: BackendDep,
    split: Annotated[int | None, Query(ge=1, le=3)] = None,
    seed: Annotated[int | None, Query(ge=0, lt=2**31)] = None,
) -> StreamingResponse:
    """Return the trained system of a split and seed as a model bundle: the first of each where none is given.

    A bundle is a zip of safetensors and JSON, which `twostream predict` and `models.load` read without a server.
    """
    backend.settings.work.mkdir(parents=True, exist_ok=True)
    file = tempfile.TemporaryFile(prefix="bundle-", dir=backend.settings.work)  # noqa: SIM115 - closed when sent
    try:
        system = bundle(file, backend.database, open_store(backend.settings), experiment_id, split=split, seed=seed)
    except BaseException:
        file.close()
        raise
    length = file.tell()
    headers = {"Content-Length": str(length), "Content-Disposition": f'attachment; filename="{_file_name(system)}"'}
    return StreamingResponse(_chunks(file), media_type=ZIP, headers=headers)


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    with file:
        file.seek(0)
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def _file_name(system: System) -> str:
    """Return a name of letters that every file system and header takes."""
    name = re.sub(r"[^A-Za-z0-9]+", "-", system.name).strip("-").lower() or "model"
    return f"{name[:60]}-split{system.split}-seed{system.seed}.zip"
