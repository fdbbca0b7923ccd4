"""Answers that a client need not be sent again: `ETag`, `If-None-Match` and 304 (RFC 9110, sec. 13)."""

from __future__ import annotations

import hashlib
from importlib.metadata import PackageNotFoundError, version

from fastapi import Request, Response

try:
    OURS = version("twostream")
except PackageNotFoundError:  # run from a checkout that nobody installed
    OURS = ""


def etag(*parts: object) -> str:
    """Return the tag of an answer that depends on these parts, and on the version of the service, alone."""
    return f'"{hashlib.sha256(repr((OURS, *parts)).encode()).hexdigest()[:32]}"'


def is_known(request: Request, tag: str) -> bool:
    """Say whether a client names a tag as one that it has."""
    return names(request.headers.get("if-none-match"), tag)


def names(given: str | None, tag: str) -> bool:
    """Say whether an `If-None-Match` names a tag."""
    return tag in (each.strip().removeprefix("W/") for each in (given or "").split(","))


def is_current(given: str | None, tag: str) -> bool:
    """Say whether an `If-None-Match` names the tag of what is there, or asks for nothing if anything is (`*`)."""
    return names(given, tag) or (given or "").strip() == "*"


def is_plain(request: Request) -> bool:
    """Say whether a request has no body, and each header once: nothing that a route might refuse beside its query."""
    names = [name for name, _ in request.headers.raw]
    return len(set(names)) == len(names) and not {b"content-length", b"transfer-encoding"} & set(names)


def any_will_do(request: Request) -> bool:
    """Say whether a client wants no answer at all if there is one."""
    return request.headers.get("if-none-match", "").strip() == "*"


def not_modified(tag: str) -> Response:
    """Return 304."""
    return Response(status_code=304, headers=headers(tag))


def headers(tag: str) -> dict[str, str]:
    """Return what goes with an answer: it may be kept, and is asked about each time."""
    return {"ETag": tag, "Cache-Control": "private, no-cache", "Vary": "Accept"}
