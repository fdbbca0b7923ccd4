"""Parts of the embedded stack that run while a block lasts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cli.stack.process import Process
from cli.stack.stack import Part

START_SECONDS = 240.0
"""Longer than a part takes to start, on a machine that is busy with other things."""


@contextmanager
def running(part: Part) -> Iterator[Process]:
    """Start a part, wait until it answers, and stop it in the end."""
    part.prepare()
    process = Process.start(part.command())
    try:
        process.wait_until(part.healthy, START_SECONDS)
        yield process
    finally:
        process.stop()
