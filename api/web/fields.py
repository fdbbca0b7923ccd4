"""Fields of the pages' forms, where a browser sends what is not chosen as an empty text; values of specs in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, get_args

import yaml
from fastapi import Header, Query

from api.shapes import ExperimentState
from api.stream import MAX_POSITION
from services.texts import PLAIN

Text = Annotated[str, Query(max_length=200, pattern=PLAIN)]
Number = Annotated[str, Query(pattern=r"^\d{0,9}$")]
State = Literal["", "queued", "running", "cancelling", "cancelled", "succeeded", "failed"]
STATES: tuple[str, ...] = get_args(ExperimentState)
Place = Annotated[int, Query(ge=0, lt=2**31)]
"""How many entries stand before a page of a listing."""
Watched = Annotated[int | None, Header(alias="Twostream-Watched", ge=0, le=MAX_POSITION)]
"""Of which event the script of an open page has heard last; a browser by itself does not send it."""


def worded(value: object) -> str:
    """Write a value of a spec on one line."""
    if isinstance(value, Mapping | Sequence) and not isinstance(value, str):
        return yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10**6, allow_unicode=True).strip()
    return "none" if value is None else str(value)
