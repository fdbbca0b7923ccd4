"""Listings that are cut say so in headers: how many entries there are, and where the next page begins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

from fastapi import Query, Request, Response

T = TypeVar("T")

PageSize = Annotated[int, Query(ge=1, le=1000)]
Offset = Annotated[int, Query(ge=0, lt=2**31)]
"""The cursor of such a listing: how many entries stand before the page."""
HEADERS: dict[int | str, dict[str, Any]] = {
    200: {
        "headers": {
            "X-Total-Count": {"description": "entries on all pages", "schema": {"type": "integer", "minimum": 0}},
            "Link": {
                "description": 'the next page, `<...>; rel="next"` (RFC 8288); absent on the last',
                "schema": {"type": "string"},
            },
        }
    }
}
"""What the OpenAPI document says of such a listing."""


def page_of(request: Request, response: Response, found: Sequence[T], total: int, limit: int, offset: int) -> list[T]:
    """Return the entries of a page, and tell in headers what it leaves out.

    Args:
        request: of the page.
        response: gets the headers.
        found: one entry more than the page has, if there is one.
        total: how many there are on all pages.
        limit: how many the page may have.
        offset: how many stand before it.
    """
    response.headers["X-Total-Count"] = str(total)
    if len(found) > limit:
        url = request.url.include_query_params(cursor=offset + limit)
        response.headers["Link"] = f'<{url.path}?{url.query}>; rel="next"'
    return list(found[:limit])
