"""What a stage used of its machine: curves of a bounded number of points, whose spacing doubles as it runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, NamedTuple, Self

MOST_POINTS = 120
"""Of each curve."""
FIRST_SECONDS = 1.0
"""Between two points, until there are too many."""
MEBIBYTE = 2**20
Json = dict[str, Any]


class Sample(NamedTuple):
    """What the processes of a stage used at one moment; None where nobody could measure it.

    Attributes:
        cpu: processors, on average since the sample before.
        memory_bytes: pages that its processes share are counted once.
        gpu: part of the time in which its GPUs computed, 0 to 1, on average over them.
        gpu_memory_bytes: on all of its GPUs.
    """

    cpu: float | None = None
    memory_bytes: float | None = None
    gpu: float | None = None
    gpu_memory_bytes: float | None = None


BYTES = ("memory_bytes", "gpu_memory_bytes")
"""Of these a point is the most, of the others the mean; they are kept in MiB."""


@dataclass(frozen=True)
class Curves:
    """What an attempt used, a point every ``spacing`` seconds from its beginning; a gap is None, no curve is empty."""

    spacing: float = FIRST_SECONDS
    cpu: Sequence[float | None] = ()
    memory_bytes: Sequence[float | None] = ()
    gpu: Sequence[float | None] = ()
    gpu_memory_bytes: Sequence[float | None] = ()

    @classmethod
    def of(cls, kept: Mapping[str, Any] | None) -> Self:
        """Read what ``Recorder.kept`` wrote; none of an attempt that nobody measured."""
        if kept is None:
            return cls()
        curves: dict[str, list[float | None]] = {name: kept.get(name, []) for name in Sample._fields}
        for name in BYTES:
            curves[name] = [None if value is None else value * MEBIBYTE for value in curves[name]]
        return cls(kept["spacing"], **curves)

    def mean(self, name: str) -> float | None:
        """Return the mean of a curve."""
        values = self._values(name)
        return fmean(values) if values else None

    def most(self, name: str) -> float | None:
        """Return the highest point of a curve."""
        return max(self._values(name), default=None)

    def last(self) -> Sample:
        """Return what was used at the end, or is used now."""
        return Sample(**{name: next(iter(self._values(name)[-1:]), None) for name in Sample._fields})

    def _values(self, name: str) -> list[float]:
        return [value for value in getattr(self, name) if value is not None]


class Recorder:
    """Puts samples into curves.

    Attributes:
        spacing: seconds between two points now.
    """

    def __init__(self) -> None:
        self.spacing = FIRST_SECONDS
        self._points: list[dict[str, list[float]]] = []

    def add(self, seconds: float, sample: Sample) -> None:
        """Add what was measured so many seconds after the beginning."""
        while seconds >= MOST_POINTS * self.spacing:
            self.spacing *= 2
            self._points = [_joined(self._points[at : at + 2]) for at in range(0, len(self._points), 2)]
        place = max(0, int(seconds / self.spacing))
        self._points += [{} for _ in range(place + 1 - len(self._points))]
        measured = {name: [value, 1, value] for name, value in sample._asdict().items() if value is not None}
        self._points[place] = _joined([self._points[place], measured])

    def kept(self) -> Json | None:
        """Return the curves as they are kept, a few KB of JSON at the most; None before the first sample."""
        if not self._points:
            return None
        names = [name for name in Sample._fields if any(name in point for point in self._points)]
        return {"spacing": self.spacing} | {
            name: [_value(name, point.get(name)) for point in self._points] for name in names
        }


def _joined(points: Iterable[Mapping[str, Sequence[float]]]) -> dict[str, list[float]]:
    """Join points: of each curve the sum, how many samples are in it, and the most."""
    found: dict[str, list[float]] = defaultdict(lambda: [0.0, 0, 0.0])
    for point in points:
        for name, (total, number, most) in point.items():
            before = found[name]
            found[name] = [before[0] + total, before[1] + number, max(before[2], most)]
    return dict(found)


def _value(name: str, point: Sequence[float] | None) -> float | None:
    if point is None:
        return None
    return round(point[2] / MEBIBYTE) if name in BYTES else round(point[0] / point[1], 3)
