"""A submission that was only tried, in words and columns."""

from __future__ import annotations

from typing import Any

from cli.output import duration, print_table
from cli.terminal import say
from services.cache.sizes import word_bytes
from services.words import counted

COLUMNS = ("stage", "now", "reused", "time#", "memory#", "GPU memory#", "disk#", "by attempts#")


def print_dry_run(found: dict[str, Any]) -> None:
    """Print the stages of an experiment that nobody queued, and what those may take that would run."""
    print_table(f"{found['name']}: a dry run, nothing is queued", COLUMNS, map(_row, found["stages"]))
    say(f"{counted(found['total'], 'stage')}, {found['reused']} of them reused")
    known = found["total"] - found["reused"] - len(found["unknown"])
    if known:
        line = f"{known} would take {duration(found['seconds'])} of work and {word_bytes(found['disk_bytes'])} of disk"
        say(f"{line}; the most memory of one: {_bytes(found['memory_bytes'])}")
    for finding in found["findings"]:
        say(f"{finding['severity']}: {finding['field']}: {finding['sentence']}")
    if found["unknown"]:
        say(f"{len(found['unknown'])} have no estimate: no stage of their kind and sizes has run on this dataset")


def _row(stage: dict[str, Any]) -> tuple[object, ...]:
    estimate = stage["estimate"]
    if estimate is None:
        return stage["name"], stage["state"], "reused", None, None, None, None, None
    seconds = estimate["seconds"]
    sizes = (_bytes(estimate[name]) for name in ("memory_bytes", "gpu_memory_bytes", "disk_bytes"))
    taken = duration(seconds) if seconds is not None else "unknown"
    return stage["name"], stage["state"], None, taken, *sizes, estimate["attempts"]


def _bytes(count: int | None) -> str:
    return "unknown" if count is None else word_bytes(count)
