"""JSON that people and other programs have written: no object has a field twice, of which readers would take either."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any


class Twice(ValueError):
    """A field stands twice in one object.

    Attributes:
        field: its name.
    """

    def __init__(self, field: str) -> None:
        super().__init__(f"{field!r} stands twice in one object")
        self.field = field


def parsed(text: str | bytes) -> Any:
    """Return what JSON says.

    Raises:
        Twice: a field stands twice in one object.
        ValueError: it is no JSON.
        RecursionError: it has more levels than can be read.
    """
    return json.loads(text, object_pairs_hook=_once)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    for name, count in Counter(name for name, _ in pairs).items():
        if count > 1:
            raise Twice(name)
    return dict(pairs)
