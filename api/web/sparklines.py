"""What an attempt used, as lines so small that they stand beside a stage's name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from services.cache.sizes import word_bytes
from services.queue.use import AttemptUse
from services.words import counted

WIDTH, HEIGHT, EDGE = 120, 24, 2
MOST_POINTS = 40
HUES = {"cpu": 0, "memory_bytes": 2, "gpu": 1, "gpu_memory_bytes": 3}


@dataclass(frozen=True)
class Spark:
    """A curve from 0 to its highest point, as SVG writes it, and what it says in words."""

    hue: int
    points: str
    words: str


def sparks(found: AttemptUse) -> list[Spark]:
    """Return a line for each curve of an attempt that has two points at least."""
    words = _words(found)
    curves = {name: getattr(found.curves, name) for name in HUES}
    return [
        Spark(HUES[name], _points(curve), words[name])
        for name, curve in curves.items()
        if sum(value is not None for value in curve) > 1
    ]


def _words(found: AttemptUse) -> dict[str, str]:
    curves = found.curves
    means = {name: curves.mean(name) or 0.0 for name in ("cpu", "gpu")}
    most = {name: word_bytes(int(curves.most(name) or 0)) for name in ("memory_bytes", "gpu_memory_bytes")}
    return {
        "cpu": f"{means['cpu']:.1f} CPUs on average",
        "memory_bytes": f"{most['memory_bytes']} of memory at most",
        "gpu": f"{100 * means['gpu']:.0f} % of {counted(found.gpus, 'GPU')} on average",
        "gpu_memory_bytes": f"{most['gpu_memory_bytes']} on GPU at most",
    }


def _points(curve: Sequence[float | None]) -> str:
    every = ceil(len(curve) / MOST_POINTS)
    kept = [(place, value) for place, value in enumerate(curve) if value is not None and place % every == 0]
    top = max((value for _, value in kept), default=0) or 1
    across = WIDTH / max(1, len(curve) - 1)
    return " ".join(
        f"{place * across:.4g},{HEIGHT - EDGE - (HEIGHT - 2 * EDGE) * value / top:.3g}" for place, value in kept
    )
