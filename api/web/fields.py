"""Fields of the pages' forms: a browser sends what is not chosen as an empty text."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from fastapi import Query

from api.shapes import ExperimentState

Text = Annotated[str, Query(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
Number = Annotated[str, Query(pattern=r"^\d{0,9}$")]
State = Literal["", "queued", "running", "cancelling", "cancelled", "succeeded", "failed"]
STATES: tuple[str, ...] = get_args(ExperimentState)
Place = Annotated[int, Query(ge=0, lt=2**31)]
"""How many entries stand before a page of a listing."""
