"""What the OpenAPI document calls each route: the first words of its docstring, not the name of its function."""

from __future__ import annotations

import inspect
import re

from fastapi import APIRouter
from fastapi.routing import APIRoute

END = re.compile(r"[.,;:]\s|[.,;:]$|\n| \(")


def summarise(router: APIRouter) -> None:
    """Give each route a summary, such as "List experiments" for "List experiments, newest first."."""
    for route in router.routes:
        if isinstance(route, APIRoute) and route.summary is None:
            words = END.split(inspect.cleandoc(route.endpoint.__doc__ or ""), maxsplit=1)[0]
            route.summary = words.replace("`", "") or None
