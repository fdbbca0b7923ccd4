"""Accuracy of each class, and what each gains over a baseline (as Fig. 3 of Relational LSTM has it)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from sqlalchemy.orm import Session

from services.db.tables import ExperimentRow
from services.errors import InvalidRequest
from services.figures.canvas import HUES, Theme, write_title
from services.figures.choice import UNFUSED, Choice, Counted, counted, streams_of
from services.queue import experiments

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

ACCURACY, GAIN = "classes", "gain"
MOST_SHOWN = 60
"""Of more classes those in the middle are left out."""
ROW_INCH, MARGIN_INCH = 0.17, 1.1


@dataclass(frozen=True)
class Bars:
    """A number for each of some classes, the highest first; ``omitted`` stand between the halves, unshown."""

    title: str
    unit: str
    classes: tuple[str, ...]
    values: tuple[float, ...]
    omitted: int = 0

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in inches."""
        return 6.5, MARGIN_INCH + ROW_INCH * max(4, len(self.classes))

    def draw(self, canvas: Canvas, theme: Theme) -> None:
        """Draw bars from zero, in another hue where they are below it, each with its number."""
        canvas.set_layout_engine("constrained")
        axes = canvas.subplots()
        hues, places = HUES[theme], range(len(self.values))
        bars = axes.barh(places, self.values, color=[hues[1 if value < 0 else 0] for value in self.values], height=0.7)
        axes.bar_label(bars, fmt="%.1f", padding=2, fontsize=7)
        axes.set_yticks(places, self.classes, fontsize=8)
        axes.tick_params(axis="y", length=0)
        axes.invert_yaxis()
        axes.margins(x=0.1, y=0.01)
        title = f"{self.title}; {self.omitted} classes between are left out" if self.omitted else self.title
        write_title(canvas, title)
        axes.set(xlabel=self.unit)
        axes.grid(visible=True, axis="x")
        axes.set_axisbelow(True)


def prepare_accuracy(session: Session, experiment: ExperimentRow, choice: Choice) -> Bars:
    """Return the share of each class's clips that is right."""
    found = counted(session, experiment, choice, ACCURACY)
    return _ranked(f"Accuracy by class, {found.words}", "%", found.classes, (100 * found.rates).tolist())


def prepare_gain(session: Session, experiment: ExperimentRow, choice: Choice) -> Bars:
    """Return what each class gains over the same stream, split and seed of another experiment.

    Raises:
        InvalidRequest: no baseline is named, or it has other classes.
        NotFound: there is no such experiment, or nothing is known of it clip by clip.
    """
    if choice.baseline is None:
        raise InvalidRequest("baseline", None, "the id of the experiment over which the gain is shown")
    other = experiments.get(session, choice.baseline)
    mine, theirs = (counted(session, each, choice, GAIN) for each in (experiment, other))
    if mine.classes != theirs.classes:
        raise InvalidRequest("baseline", choice.baseline, f"an experiment with the classes of {experiment.dataset}")
    return gains(f"Gain over {other.name[:40]}, {mine.words}", mine, theirs)


def gains(title: str, mine: Counted, theirs: Counted, most: int | None = None) -> Bars:
    """Return what each of the same classes gains over another system, or the ``most`` that gain most."""
    found = (100 * (mine.rates - theirs.rates)).tolist()
    bars = _ranked(title, "percentage points", mine.classes, found)
    if most is None:
        return bars
    return Bars(bars.title, bars.unit, bars.classes[:most], bars.values[:most])


def lacks(session: Session, experiment: ExperimentRow) -> str | None:
    """Say why an experiment has no numbers by class; None where it has."""
    return None if streams_of(session, experiment.id) else UNFUSED


def _ranked(title: str, unit: str, classes: Sequence[str], values: Sequence[float]) -> Bars:
    there = [(round(value, 3), name) for name, value in zip(classes, values, strict=True) if np.isfinite(value)]
    ranked = sorted(there, key=lambda pair: (-pair[0], pair[1]))
    omitted = max(0, len(ranked) - MOST_SHOWN)
    if omitted:
        ranked = ranked[: MOST_SHOWN // 2] + ranked[-(MOST_SHOWN // 2) :]
    return Bars(title, unit, tuple(name for _, name in ranked), tuple(value for value, _ in ranked), omitted)
