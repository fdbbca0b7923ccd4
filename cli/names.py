"""Experiments as people name them: by id, by the beginning of one, or by name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from cli.errors import INVALID, NOT_FOUND, CommandError

if TYPE_CHECKING:
    from cli.transport import Transport

WHOLE = re.compile(r"exp_(?:[0-9a-f]{20}|[0-9a-f]{36})")
BEGINNING = re.compile(r"exp_[0-9a-f]{1,36}")
SWEEP = re.compile(r"swp_[0-9a-f]{1,36}")
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
    found: list[Json] = []
    if BEGINNING.fullmatch(given):
        found += client.get("/experiments", id=given, archived="any", limit=NAMED + 1)["items"]
    likely: list[Json] = []
    if len(found) < 2:  # a name may look like the beginning of an id
        found += [each for each in _with_name(client, given, likely) if each not in found]
    if len(found) == 1:
        return str(found[0]["id"])
    raise _refused(given, found, likely)


def sweep_id_of(client: Transport, given: str) -> str:
    """Return the id of the one sweep whose id begins so.

    Raises:
        CommandError: there is none, or more than one.
    """
    if SWEEP.fullmatch(given) is None:
        raise CommandError(f"ID: got {given!r}, allowed: the id of a sweep, such as swp_0193a1b2c3d4", INVALID)
    found = client.get("/sweeps", id=given, limit=2)["items"]
    if len(found) == 1:
        return str(found[0]["id"])
    hint = "give more of the id" if found else "twostream sweep list"
    message = f"{'several sweeps have' if found else 'no sweep has'} an id that begins with {given!r}; hint: {hint}"
    raise CommandError(message, NOT_FOUND, _problem(message))


def _with_name(client: Transport, name: str, likely: list[Json]) -> Iterator[Json]:
    """Yield experiments of a name; those of a name that it is a part of are left in ``likely``."""
    cursor, left = None, NAMED + 1
    while left:
        page = client.get("/experiments", name=name, archived="any", limit=PAGE, cursor=cursor)
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
    return CommandError(message, NOT_FOUND, _problem(message))


def _problem(message: str) -> Json:
    return {"type": "about:blank", "title": "Not found", "status": 404, "detail": message}


def _words(found: Sequence[Json]) -> str:
    return ", ".join(f"{each['id']} ({each['name']}, {each['state']})" for each in found)
