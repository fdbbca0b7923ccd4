"""Threads that a process keeps for pieces of work: a clip's groups of pictures, a batch's frames."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache


def side_by_side(pieces: Sequence[Callable[[], object]]) -> None:
    """Do all pieces of work side by side, the first in this thread, and return when all have ended.

    No piece may call this function: it would wait for threads that wait for it.

    Raises:
        Exception: of the first piece that failed.
    """
    first, *others = pieces
    futures = [_pool(os.getpid(), len(others)).submit(piece) for piece in others]
    try:
        first()
    finally:
        failures = [future.exception() for future in futures]
    for failure in failures:
        if failure is not None:
            raise failure


@cache
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """Return the threads of a process; one that was forked has none of its parent's."""
    return ThreadPoolExecutor(threads, f"pieces-{process}")
