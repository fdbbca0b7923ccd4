"""Cursors: where the next page of a listing begins, as a text that a client hands back unread."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from services.errors import InvalidRequest

MAX_INTEGER = 2**63 - 1
"""What Postgres holds as a bigint."""


def make_cursor(*values: object) -> str:
    """Return a cursor of the values that `open_cursor` returns; each is a JSON value."""
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode()


def open_cursor(cursor: str, *kinds: type) -> tuple[Any, ...]:
    """Return the values of a cursor, each of its kind or None.

    Args:
        cursor: as a client sent it.
        kinds: ``int``, ``float`` or ``str``, one for each value.

    Raises:
        InvalidRequest: it is none that we made.
    """
    refused = InvalidRequest("cursor", cursor, "the cursor of the page before")
    try:
        values = json.loads(base64.urlsafe_b64decode(cursor.encode()))
    except (ValueError, binascii.Error, RecursionError) as error:
        raise refused from error
    if not isinstance(values, list) or len(values) != len(kinds) or not all(map(_fits, values, kinds)):
        raise refused
    return tuple(values)


def _fits(value: object, kind: type) -> bool:
    if value is None:
        return True
    if isinstance(value, str):
        return kind is str and value.isprintable()
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return isinstance(value, kind) and abs(value) <= MAX_INTEGER
