"""How a benchmark prints: one line a figure, with the machine, so that a table can be copied."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Sequence


def machine() -> str:
    """Return cores and processor architecture in words."""
    return f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value below which ``share`` of the sorted values lie (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def line(name: str, values_ms: Sequence[float], floor_ms: Sequence[float] | None = None, goal: str = "") -> None:
    """Print the median and the 99th percentile in milliseconds, and the ratio of medians to a floor."""
    p50, p99 = statistics.median(values_ms), quantile(values_ms, 0.99)
    ratio = "" if floor_ms is None else f"  {p50 / statistics.median(floor_ms):6.1f} x floor"
    print(f"{name:44} n {len(values_ms):5}  p50 {p50:8.2f} ms  p99 {p99:8.2f} ms{ratio}  {goal}", flush=True)
