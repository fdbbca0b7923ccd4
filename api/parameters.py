"""Nothing in a request is ignored: one dependency of the whole application looks at query, headers and body."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import get_origin

from fastapi import Depends, Request
from fastapi.dependencies.models import Dependant

from api.field_errors import InvalidFields
from api.json_body import require_no_fields
from api.shapes import FieldError

MAX_NAMED = 50
ONCE = ("authorization", "idempotency-key", "last-event-id", "content-type")
"""Headers that routes read; a second one would be ignored."""


async def _require_known(request: Request) -> None:
    """Refuse query parameters and bodies that the route does not read, and what is given twice and is no list.

    Raises:
        InvalidFields: names each, and the parameters that the route knows.
    """
    parts = list(_parts(request.scope["route"].dependant))
    fields = [field for part in parts for field in part.query_params]
    known = sorted({field.alias for field in fields})
    often = {field.alias for field in fields if get_origin(field.field_info.annotation) is list}
    given = request.query_params.multi_items()
    count = Counter(name for name, _ in given)
    allowed = f"query parameters of this route: {', '.join(known)}" if known else "no query parameters on this route"
    wrong = {name: FieldError.of(name, value, allowed) for name, value in given if name not in known}
    wrong |= {
        name: FieldError.of(name, request.query_params.getlist(name), "one value; it is given more than once")
        for name in known
        if count[name] > 1 and name not in often
    }
    wrong |= {
        name: FieldError.of(name, f"{len(found)} headers", "one header of this name")
        for name in ONCE
        if len(found := request.headers.getlist(name)) > 1
    }
    if wrong:
        raise InvalidFields(list(wrong.values())[:MAX_NAMED])
    if request.method == "GET":  # a route that writes asks who calls before it reads a body
        await require_no_fields(request)


KnownParameters = Depends(_require_known)


def _parts(dependant: Dependant) -> Iterator[Dependant]:
    """Yield a route's function and all that it depends on."""
    yield dependant
    for below in dependant.dependencies:
        yield from _parts(below)
