"""Experiments as people name them: by id, by the beginning of one, or by name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from cli.errors import NOT_FOUND, CommandError

if TYPE_CHECKING:
    from cli.transport import Transport

WHOLE = re.compile(r"exp_(?:[0-9a-f]{20}|[0-9a-f]{36})")
BEGINNING = re.compile(r"exp_[0-9a-f]{0,36}")
PAGE = 200
NAMED = 5
"""Candidates that an error names."""
Json = dict[str, Any]


def id_of(client: Transport, given: str) -> str:
    """Return the id of the one experiment whose id begins so, or whose name this is; a whole id costs no request.

    Raises:
        CommandError: there is none, or more than one.
    """
    if WHOLE.fullmatch(given):
        return given
    found: Sequence[Json] = ()
    if BEGINNING.fullmatch(given):
        found = client.get("/experiments", id=given, limit=NAMED + 1)["items"]
    likely: list[Json] = []
    if not found:
        found = list(_with_name(client, given, likely))
    if len(found) == 1:
        return str(found[0]["id"])
    raise _refused(given, found, likely)


def _with_name(client: Transport, name: str, likely: list[Json]) -> Iterator[Json]:
    """Yield experiments of a name; those of a name that it is a part of are left in ``likely``."""
    cursor, left = None, NAMED + 1
    while left:
        page = client.get("/experiments", name=name, limit=PAGE, cursor=cursor)
        for each in page["items"]:
            if each["name"] == name and left:
                left -= 1
                yield each
            elif len(likely) < NAMED:
                likely.append(each)
        cursor = page["next_cursor"]
        if cursor is None:
            return


def _refused(given: str, found: Sequence[Json], likely: Sequence[Json]) -> CommandError:
    if found:
        more = " and more" if len(found) > NAMED else ""
        message = f"ID: got {given!r}, which {_words(found[:NAMED])}{more} have; hint: give more of the id"
    else:
        hint = f"; hint: one of {_words(likely)}" if likely else "; hint: twostream list"
        message = f"no experiment whose name or beginning of its id is {given!r}{hint}"
    problem = {"type": "about:blank", "title": "Not found", "status": 404, "detail": message}
    return CommandError(message, NOT_FOUND, problem)


def _words(found: Sequence[Json]) -> str:
    return ", ".join(f"{each['id']} ({each['name']}, {each['state']})" for each in found)
