"""Confusion of classes: which share of each class's clips was taken for which, those taken for each other together.

The difference of two confusions says where a system's answers went that another one answered otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from services.db.tables import ExperimentRow
from services.errors import InvalidRequest
from services.figures.canvas import HUES, INK, Theme, write_title
from services.figures.choice import UNFUSED, Choice, Counted, counted, streams_of
from services.queue import experiments

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure as Canvas

NAME, DIFFERENCE = "confusion", "confusion-difference"
MOST_NUMBERED = 20
"""With more classes the cells have no numbers."""
CLASS_INCH, TOP_INCH, RIGHT_INCH = 0.115, 0.45, 1.15
"""Of a class where there are many, and of the margins with the title and the scale."""


@dataclass(frozen=True)
class Confusion:
    """Shares in percent, true classes down and predicted ones across, both in the order of ``classes``.

    ``signed`` says that they are differences in percentage points, below zero where a share became smaller.
    """

    title: str
    classes: tuple[str, ...]
    shares: tuple[tuple[float, ...], ...]
    signed: bool = False

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in inches."""
        return self._names + self._side + RIGHT_INCH, TOP_INCH + self._side + self._names

    @property
    def _few(self) -> bool:
        return len(self.classes) <= MOST_NUMBERED

    @property
    def _side(self) -> float:
        """Of the matrix, in inches."""
        return max(4.0, CLASS_INCH * len(self.classes))

    @property
    def _names(self) -> float:
        """Room for the longest name and the axis' label, in inches: to measure them would take longer than to draw."""
        return 0.45 + (0.09 if self._few else 0.06) * max(map(len, self.classes))

    def draw(self, canvas: Canvas, theme: Theme) -> None:
        """Draw the matrix, further from the paper where the share is higher."""
        width, height = self.size
        left, bottom, side = self._names / width, self._names / height, self._side
        axes = canvas.add_axes((left, bottom, side / width, side / height))
        scale = canvas.add_axes(
            (left + (side + 0.25) / width, bottom + 0.2 * side / height, 0.15 / width, 0.6 * side / height)
        )
        least = -self._most if self.signed else 0
        shown = axes.imshow(self.shares, vmin=least, vmax=self._most, cmap=self._shades(theme))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_ticks(range(len(self.classes)), self.classes, fontsize=9 if self._few else 6)
            axis.set_tick_params(length=0)
        axes.tick_params(axis="x", labelrotation=90)
        write_title(canvas, self.title)
        axes.set(xlabel="predicted class", ylabel="true class")
        axes.spines[:].set_visible(False)
        canvas.colorbar(shown, cax=scale, label=f"{'points, of' if self.signed else '% of'} the true class's clips")
        if self._few:
            self._write_numbers(axes, theme)

    @property
    def _most(self) -> float:
        """The share that is drawn in the strongest shade."""
        return max((abs(share) for row in self.shares for share in row), default=0) or 100.0 if self.signed else 100.0

    def _shades(self, theme: Theme) -> Colormap:
        from matplotlib.colors import LinearSegmentedColormap  # noqa: PLC0415 - see `canvas`

        lightest, hues = "#f3f3f0" if theme == "light" else "#1f2429", HUES[theme]
        ends = [hues[1], lightest, hues[0]] if self.signed else [lightest, hues[0]]
        return LinearSegmentedColormap.from_list(theme, ends)

    def _write_numbers(self, axes: Axes, theme: Theme) -> None:
        paper, ink, _ = INK[theme]
        for row, shares in enumerate(self.shares):
            for column, share in enumerate(shares):
                if abs(share) >= 0.5:
                    color = paper if abs(share) > 0.55 * self._most else ink
                    words = f"{share:+.0f}" if self.signed else f"{share:.0f}"
                    axes.text(column, row, words, color=color, ha="center", va="center", fontsize=7)


def prepare(session: Session, experiment: ExperimentRow, choice: Choice) -> Confusion:
    """Return the confusion of a stream over the chosen splits and seeds."""
    found = counted(session, experiment, choice, NAME)
    shares = _shares(found)
    return _ordered(f"Confusion, {found.words}", found.classes, shares, by_confusion(shares))


def prepare_difference(session: Session, experiment: ExperimentRow, choice: Choice) -> Confusion:
    """Return the confusion less that of the same stream, split and seed of another experiment.

    Classes stand in the order of the sum of both, so that the same two experiments have one order.

    Raises:
        InvalidRequest: no baseline is named, or it has other classes.
        NotFound: there is no such experiment, or nothing is known of it clip by clip.
    """
    if choice.baseline is None:
        raise InvalidRequest("baseline", None, "the id of the experiment whose confusion is taken off")
    other = experiments.get(session, choice.baseline)
    mine, theirs = (counted(session, each, choice, DIFFERENCE) for each in (experiment, other))
    if mine.classes != theirs.classes:
        raise InvalidRequest("baseline", choice.baseline, f"an experiment with the classes of {experiment.dataset}")
    own, before = _shares(mine), _shares(theirs)
    title = f"Confusion less that of {other.name[:40]}, {mine.words}"
    return _ordered(title, mine.classes, own - before, by_confusion(own + before), signed=True)


def _shares(found: Counted) -> NDArray[np.float64]:
    """Return which share of each class was taken for which, (K, K); nought for a class without clips."""
    clips = found.counts.sum(1, keepdims=True)
    shares: NDArray[np.float64] = np.zeros(found.counts.shape)
    np.divide(found.counts, clips, out=shares, where=clips > 0)
    return shares


def _ordered(
    title: str, classes: Sequence[str], shares: NDArray[np.float64], order: Sequence[int], *, signed: bool = False
) -> Confusion:
    ordered = (100 * shares[np.ix_(order, order)]).round(3)
    named = tuple(classes[label] for label in order)
    return Confusion(title, named, tuple(map(tuple, ordered.tolist())), signed)


def lacks(session: Session, experiment: ExperimentRow) -> str | None:
    """Say why an experiment has no confusion; None where it has."""
    return None if streams_of(session, experiment.id) else UNFUSED


def by_confusion(shares: NDArray[np.float64]) -> list[int]:
    """Return the classes in an order that puts those side by side that are taken for each other.

    It begins with the class that is right least often, and goes on with the one that is most confused with the last.
    Where none is, it begins again; among equals the lower label comes first.
    """
    between = shares + shares.T
    np.fill_diagonal(between, 0)
    right, left = shares.diagonal(), set(range(len(shares)))
    order: list[int] = []
    while left:
        last = order[-1] if order else None
        nearest = max(left, key=lambda label: (between[last, label], -label)) if last is not None else None
        if nearest is None or between[last, nearest] == 0:
            nearest = min(left, key=lambda label: (right[label], label))
        order.append(nearest)
        left.remove(nearest)
    return order
