"""JSON request bodies, read so that what was sent is what is used: no field twice, no number that JSON lacks."""

from __future__ import annotations

import json
from email.message import Message
from typing import Any

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from api.field_errors import AN_OBJECT, InvalidFields
from api.shapes import FieldError
from api.storable import require_storable

UNREADABLE = "body: allowed: JSON of at most 32 levels of nesting, with numbers of at most 4300 digits"
EXACT = 2**53
"""Beyond it a float may be another integer than the one that was written."""
NO_BODY = "no body, or {}: this route takes no fields"


class _Repeating(dict[str, Any]):
    """An object in which a field stands twice."""

    def __init__(self, pairs: list[tuple[str, Any]], name: str) -> None:
        super().__init__(pairs)
        self.name = name


async def read_json_object(request: Request) -> dict[str, Any]:
    """Return the JSON object in a request's body.

    Raises:
        InvalidFields: it is not JSON, not an object, or one of its objects has a field twice.
        InvalidRequest: it holds what Postgres cannot keep.
        HTTPException: 400 for JSON that cannot be read into memory, or for a body that broke off.
    """
    body = parse(await _content(request), is_json=_is_json(request))
    if not isinstance(body, dict):
        raise _refused("body", body, AN_OBJECT)
    require_storable(body)
    return body


async def require_no_fields(request: Request) -> None:
    """Refuse a body that the route would ignore: ``{}`` and an empty one are fine.

    Raises:
        InvalidFields: the body holds something else.
    """
    content = await _content(request)
    if content.strip() and parse(content, is_json=True) != {}:
        raise _refused("body", content, NO_BODY)


def parse(content: bytes, *, is_json: bool) -> Any:
    """Return what JSON text says; a field that stands twice in one object is refused."""
    if not content:
        raise _refused("body", None, f"required, {AN_OBJECT}")
    if not is_json:
        raise _refused("body", content, AN_OBJECT)
    try:
        body = json.loads(content, object_pairs_hook=_object, parse_float=_number)
    except json.JSONDecodeError as error:
        raise _refused("body", None, f"JSON; {error.msg} at character {error.pos}") from error
    except (ValueError, RecursionError) as error:  # no UTF-8, too many digits, too deep
        raise HTTPException(400, UNREADABLE) from error
    _require_each_once(body)
    return body


async def _content(request: Request) -> bytes:
    try:
        return await request.body()
    except ClientDisconnect as error:  # nobody is left to read the answer
        raise HTTPException(400, UNREADABLE) from error


def _is_json(request: Request) -> bool:
    message = Message()
    message["content-type"] = request.headers.get("content-type", "")
    subtype = message.get_content_subtype()
    return message.get_content_maintype() == "application" and (subtype == "json" or subtype.endswith("+json"))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            return _Repeating(pairs, name)
        found[name] = value
    return found


def _number(text: str) -> float:
    """Return a number: 3.0 and 3e0 are the integer 3, as JSON schemas have it."""
    number = float(text)
    return int(number) if number.is_integer() and abs(number) < EXACT else number


def _require_each_once(body: Any) -> None:
    """Refuse the first object in which a field stands twice, by the field's dotted name."""
    left: list[tuple[tuple[str, ...], Any]] = [((), body)]
    while left:
        path, item = left.pop()
        if isinstance(item, _Repeating):
            raise _refused(".".join((*path, item.name)), item[item.name], "each field once; this one stands twice")
        if isinstance(item, dict):
            left += [((*path, name), inner) for name, inner in item.items()]
        elif isinstance(item, list):
            left += [((*path, str(place)), inner) for place, inner in enumerate(item)]


def _refused(field: str, value: object, allowed: str) -> InvalidFields:
    return InvalidFields([FieldError.of(field, value, allowed)])
