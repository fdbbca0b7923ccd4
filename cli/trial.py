"""A submission, or a sweep, that was only tried, in words and columns."""

from __future__ import annotations

import json
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
    _print_sum(found, f"{known} would take" if known else None)


def print_sweep_dry_run(found: dict[str, Any]) -> None:
    """Print the first trial of a sweep that nobody began, and what trials, the best and all of it may take."""
    spec = found["spec"]
    say(f"{found['name']}: a dry run, nothing is begun")
    most = counted(found["trials"], "trial")
    points = "" if found["points"] is None else f" of {counted(found['points'], 'point')}"
    say(f"{most} at the most{points}, {spec['parallel']} at once, by {spec['sampler']['kind']}, on {spec['objective']}")
    axes = ((name, _axis(axis), json.dumps(found["values"].get(name))) for name, axis in spec["space"].items())
    print_table("space", ("field", "values", "first trial"), axes)
    for part in ("trial", "best"):
        print_table(found[part]["name"], COLUMNS, map(_row, found[part]["stages"]))
    shared = f"{found['shared']} shared by all trials, {found['reused']} reused"
    words = "" if found["planned"] == found["trials"] else f", if all are like the first {found['planned']}"
    say(f"{counted(found['total'], 'stage')} in all{words}; {shared}")
    _print_sum(found, "what is known of would take" if found["seconds"] or found["disk_bytes"] else None)


def _axis(axis: dict[str, Any]) -> str:
    """Word the values of a field."""
    if axis.get("choices") is not None:
        return ", ".join(map(json.dumps, axis["choices"]))
    step = f", by {axis['step']}" if axis.get("step") else ", log" if axis.get("log") else ""
    return f"{axis['low']} to {axis['high']}{step}"


def _print_sum(found: dict[str, Any], known: str | None) -> None:
    """Print what all may take, if anything is known of it, what is doubtful, and of how many nothing is known."""
    if known is not None:
        line = f"{known} {duration(found['seconds'])} of work and {word_bytes(found['disk_bytes'])} of disk"
        say(f"{line}; the most memory of one: {_bytes(found['memory_bytes'])}")
    for finding in found["findings"]:
        say(f"{finding['severity']}: {finding['field']}: {finding['sentence']}")
    if found["unknown"]:
        unknown = counted(len(found["unknown"]), "stage", "has", "have")
        say(f"{unknown} no estimate: none of the kind and sizes has run on this dataset")


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
