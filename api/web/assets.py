"""The pages' own files, held in memory: they are small, and wait for no thread that a request of the database holds."""

from __future__ import annotations

import hashlib
import mimetypes
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated

import fastapi_offline
from fastapi import APIRouter, Header, HTTPException, Response

from api import conditional

FOLDER = Path(__file__).parent / "static"
VENDORED = ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png")
"""Files of the reference, which a package brings, so that no page asks a server elsewhere."""

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class Asset:
    """One file, and the tag by which a browser tells whether it has it already."""

    content: bytes
    media_type: str
    etag: str


@cache
def assets() -> dict[str, Asset]:
    """Return the files by their path below ``static``."""
    own = {path.relative_to(FOLDER).as_posix(): _read(path) for path in FOLDER.rglob("*") if path.is_file()}
    vendored = Path(fastapi_offline.__file__).parent / "static"
    return own | {name: _read(vendored / name) for name in VENDORED}


@router.get("/static/{path:path}", name="static")
async def asset(path: str, if_none_match: Annotated[str | None, Header()] = None) -> Response:
    """Return a file, or 304 to a browser that has it."""
    found = assets().get(path)
    if found is None:
        raise HTTPException(404, f"no file named {path!r}")
    headers = {"ETag": found.etag, "Cache-Control": "no-cache"}
    if conditional.is_current(if_none_match, found.etag):
        return Response(status_code=304, headers=headers)
    return Response(found.content, media_type=found.media_type, headers=headers)


def _read(path: Path) -> Asset:
    content = path.read_bytes()
    media_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return Asset(content, media_type, f'"{hashlib.sha256(content).hexdigest()[:32]}"')
