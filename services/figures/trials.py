"""Pictures of a sweep: how much each field mattered, and the accuracy of its trials over two of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from services.figures.canvas import HUES, INK, Theme, write_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

LEAST = 4
"""Trials without which there is no surface to draw, only points."""
LEVELS = 12


@dataclass(frozen=True)
class Importance:
    """The share of the variance of the accuracy that each field explains, 0 to 1, the largest first."""

    title: str
    shares: tuple[tuple[str, float], ...]

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in inches."""
        return 7.0, 1.2 + 0.35 * len(self.shares)

    def draw(self, canvas: Canvas, theme: Theme) -> None:
        """Draw a bar for each field, with its share beside it."""
        canvas.set_layout_engine("constrained")
        axes = canvas.subplots()
        names, shares = [name for name, _ in self.shares][::-1], [100 * share for _, share in self.shares][::-1]
        bars = axes.barh(names, shares, color=HUES[theme][0], height=0.6)
        axes.bar_label(bars, [f"{share:.0f} %" for share in shares], padding=3)
        write_title(canvas, self.title)
        axes.set(xlabel="importance, % of the variance that is explained", xlim=(0, 110))
        axes.grid(visible=True, axis="x")
        axes.set_axisbelow(True)


@dataclass(frozen=True)
class Axis:
    """A field: its name, whether factors count alike, and its choices in words where it has some."""

    name: str
    log: bool = False
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Point:
    """A trial: where it lies on both axes, its accuracy from 0 to 1, and whether it was ended early."""

    x: float
    y: float
    value: float
    pruned: bool


@dataclass(frozen=True)
class Contour:
    """The accuracy over two fields."""

    title: str
    x: Axis
    y: Axis
    points: tuple[Point, ...]

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in inches."""
        return 7.0, 5.0

    def draw(self, canvas: Canvas, theme: Theme) -> None:
        """Draw the surface between the trials that ran to their end, and every trial as a point; pruned ones hollow."""
        canvas.set_layout_engine("constrained")
        axes = canvas.subplots()
        ended = [point for point in self.points if not point.pruned]
        paper, ink, _ = INK[theme]
        low, high = self._values()
        full, hollow = self._scaled(ended), self._scaled([point for point in self.points if point.pruned])
        shades, reached = "viridis", [100 * point.value for point in ended]
        if _spans(full):
            levels = np.linspace(low, high, LEVELS)
            axes.tricontourf(*_columns(full), reached, levels=levels, cmap=shades, extend="both", alpha=0.85)
        shown = axes.scatter(
            *_columns(full), c=reached, cmap=shades, edgecolors=ink, zorder=3, vmin=low, vmax=high, label="to their end"
        )
        if hollow:
            axes.scatter(*_columns(hollow), facecolors=paper, edgecolors=ink, zorder=3, label="ended early")
            axes.legend(loc="upper right")
        axes.margins(0.05)
        canvas.colorbar(shown, label="accuracy, %")
        write_title(canvas, self.title)
        _label(axes, "x", self.x)
        _label(axes, "y", self.y)

    def _values(self) -> tuple[float, float]:
        """Return the lowest and the highest accuracy in percent, a point apart at the least."""
        values = [100 * point.value for point in self.points]
        return min(values), max(*values, min(values) + 1)

    def _scaled(self, points: list[Point]) -> list[tuple[float, float]]:
        """Return places as they are drawn: the logarithm to base 10 where factors count alike."""
        return [(_scaled(self.x, point.x), _scaled(self.y, point.y)) for point in points]


def _columns(places: list[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in places], [y for _, y in places]


def _scaled(axis: Axis, value: float) -> float:
    return math.log10(value) if axis.log else value


def _spans(places: list[tuple[float, float]]) -> bool:
    """Say whether points span a surface: enough of them, and not all on one line."""
    if len(set(places)) < LEAST:
        return False
    found = np.array(places)
    extent = np.ptp(found, axis=0)
    if not extent.all():
        return False
    return int(np.linalg.matrix_rank((found - found[0]) / extent, tol=1e-6)) == 2


def _label(axes: Axes, side: str, axis: Axis) -> None:
    from matplotlib.ticker import FuncFormatter  # noqa: PLC0415 - see `canvas`

    drawn = axes.xaxis if side == "x" else axes.yaxis
    drawn.set_label_text(axis.name)
    if axis.choices:
        drawn.set_ticks(range(len(axis.choices)), [choice[:24] for choice in axis.choices])
    elif axis.log:
        drawn.set_major_formatter(FuncFormatter(lambda value, _: f"{10.0**value:.2g}"))
