"""Makes what a stage said storable: Postgres holds no NUL and no half of a surrogate pair, its JSON no NaN either.

A request that holds such a thing is refused. What a stage says of itself, perhaps with a name from a damaged file, is
kept all the same: an ending that cannot be written would look like the death of its worker.
"""

from __future__ import annotations

import math
import re
from typing import Any

UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def storable_text(text: str) -> str:
    """Return a text with a replacement character for each one that Postgres does not hold."""
    return UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def storable(value: Any) -> Any:
    """Return a JSON value with storable texts and keys, and with the name of each number that is not finite."""
    if isinstance(value, str):
        return storable_text(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {storable(key): storable(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [storable(inner) for inner in value]
    return value
