"""Small line charts that the server draws as SVG, in colours of the style sheet: light or dark as the reader's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from services.journal.curves import Curve
from services.words import counted

WIDTH, HEIGHT = 360, 210
LEFT, RIGHT, TOP, BOTTOM = 44, 8, 10, 28
"""Margins, in the units of the view box: at 390 px of screen one unit is about a pixel."""
HUES = 8
MOST_POINTS = 240
STEPS = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True)
class Tick:
    """A mark at an axis: where it is, and its words."""

    place: float
    words: str


@dataclass(frozen=True)
class Line:
    """One curve: its hue, its points as SVG writes them, and its last value in words."""

    stage: str
    metric: str
    hue: int
    held_out: bool
    points: str
    last: str
    epochs: int


@dataclass(frozen=True)
class Chart:
    """Lines over epochs; ``x`` and ``y`` are the marks at the axes."""

    title: str
    unit: str
    lines: tuple[Line, ...]
    x: tuple[Tick, ...]
    y: tuple[Tick, ...]

    @property
    def words(self) -> str:
        """What a reader who does not see it is told."""
        return f"{self.title} by epoch: " + "; ".join(
            f"{line.metric.replace('_', ' ')} of {line.stage} is {line.last} after {counted(line.epochs, 'epoch')}"
            for line in self.lines
        )


def charts(curves: Sequence[Curve], stages: Sequence[str] = (), of: str = "") -> list[Chart]:
    """Return a chart of losses and one of accuracies, as far as there are some.

    Args:
        curves: what is drawn.
        stages: their names in the order of hues; as they come where there are none.
        of: what the charts are of, such as a stream; it stands in their titles.
    """
    stages = stages or list(dict.fromkeys(curve.stage for curve in curves))
    losses = [curve for curve in curves if curve.metric.endswith("loss")]
    accuracies = [curve for curve in curves if curve.metric.endswith("accuracy")]
    drawn = (("Loss", "", losses, 1.0), ("Accuracy", "%", accuracies, 100.0))
    words = f", {of}" if of else ""
    return [_chart(title + words, unit, found, scale, stages) for title, unit, found, scale in drawn if found]


def _chart(title: str, unit: str, curves: Sequence[Curve], scale: float, stages: Sequence[str]) -> Chart:
    values = [scale * value for curve in curves for value in curve.values]
    epochs = [epoch for curve in curves for epoch in curve.epochs]
    x, y = (min(1, *epochs), max(2, *epochs)), (min(0.0, *values), max(values))
    x_steps, y_steps = _steps(*x, most=6, whole=True), _steps(*y, most=5)
    y = (y[0], max(y[1], y_steps[-1]))
    lines = [
        Line(
            stage=curve.stage,
            metric=curve.metric,
            hue=stages.index(curve.stage) % HUES,
            held_out=not curve.metric.startswith("train"),
            points=_points(curve, scale, x, y),
            last=f"{scale * curve.values[-1]:.3g}{' %' if unit else ''}",
            epochs=curve.epochs[-1],
        )
        for curve in curves
    ]
    return Chart(
        title,
        unit,
        tuple(lines),
        tuple(Tick(_across(step, x), f"{step:g}") for step in x_steps),
        tuple(Tick(_up(step, y), f"{step:g}") for step in y_steps),
    )


def _points(curve: Curve, scale: float, x: tuple[float, float], y: tuple[float, float]) -> str:
    every = math.ceil(len(curve.epochs) / MOST_POINTS)
    kept = sorted({*range(0, len(curve.epochs), every), len(curve.epochs) - 1})
    return " ".join(f"{_across(curve.epochs[at], x):g},{_up(scale * curve.values[at], y):g}" for at in kept)


def _across(value: float, bounds: tuple[float, float]) -> float:
    return round(LEFT + (WIDTH - LEFT - RIGHT) * (value - bounds[0]) / (bounds[1] - bounds[0]), 1)


def _up(value: float, bounds: tuple[float, float]) -> float:
    span = bounds[1] - bounds[0] or 1.0
    return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - bounds[0]) / span, 1)


def _steps(low: float, high: float, *, most: int, whole: bool = False) -> list[float]:
    """Return round numbers between two bounds, at the most so many."""
    span = high - low or 1.0
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(power * factor for factor in STEPS if span / (power * factor) <= most)
    step = max(1.0, math.ceil(step)) if whole else step
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(step * place, 10) for place in range(first, last + 1)] or [low]
