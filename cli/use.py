"""What attempts used of their machines, in columns, with a line of bars for the processors or the GPUs."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any

from cli.output import USED, duration, print_table, used

COLUMNS = ("stage", "attempt#", "state", "device", "took#", *USED, "GPU hours#", "CPU hours#", "over time")
BARS = "▁▂▃▄▅▆▇█"
MOST_BARS = 20


def print_use(found: Sequence[dict[str, Any]]) -> None:
    """Print each attempt: means of processors and GPUs, the most of memory, hours, and the course of it."""
    print_table("use of the machines", COLUMNS, map(_row, found))


def _row(use: dict[str, Any]) -> tuple[object, ...]:
    curves = use["curves"]
    measured = {
        "cpu": use["mean_cpu"],
        "memory_bytes": use["most_memory_bytes"],
        "gpu": use["mean_gpu"],
        "gpu_memory_bytes": use["most_gpu_memory_bytes"],
    }
    cpu_hours = None if use["cpu_hours"] is None else f"{use['cpu_hours']:.3f}"
    named = (use["name"], use["attempt"], use["state"], use["device"], duration(use["seconds"]))
    return *named, *used(measured), f"{use['gpu_hours']:.3f}", cpu_hours, bars(curves["gpu"] or curves["cpu"])


def bars(curve: Sequence[float | None]) -> str | None:
    """Draw a curve from 0 to its highest point in letters; a gap is a blank. None without a point."""
    every = max(1, ceil(len(curve) / MOST_BARS))
    parts = [[value for value in curve[at : at + every] if value is not None] for at in range(0, len(curve), every)]
    heights = [max(part) if part else None for part in parts]
    top = max((height for height in heights if height is not None), default=None)
    if top is None:
        return None
    return "".join(
        " " if height is None else BARS[min(len(BARS) - 1, int(len(BARS) * height / (top or 1)))] for height in heights
    )
