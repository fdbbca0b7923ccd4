"""What JSON can say and Postgres cannot keep."""

from __future__ import annotations

import math
from typing import Any

from services.errors import InvalidRequest

MAX_DEPTH = 32


def require_storable(value: Any, max_depth: int = MAX_DEPTH) -> None:
    """Refuse JSON that Postgres cannot keep.

    Raises:
        InvalidRequest: a NUL or half a surrogate pair in a string, a number that is not finite, deep nesting.
    """
    left: list[tuple[str, Any, int]] = [("body", value, 0)]
    while left:
        field, item, depth = left.pop()
        if depth > max_depth:
            raise InvalidRequest(field, "...", f"at most {max_depth} levels of nesting")
        if isinstance(item, dict):
            left += [(field, key, depth + 1) for key in item]
            left += [(f"{field}.{key}".removeprefix("body."), inner, depth + 1) for key, inner in item.items()]
        elif isinstance(item, list):
            left += [(f"{field}.{place}".removeprefix("body."), inner, depth + 1) for place, inner in enumerate(item)]
        elif isinstance(item, str) and ("\0" in item or any("\ud800" <= letter <= "\udfff" for letter in item)):
            raise InvalidRequest(field, item, "text without NUL characters and lone surrogates")
        elif isinstance(item, float) and not math.isfinite(item):
            raise InvalidRequest(field, item, "a finite number")
