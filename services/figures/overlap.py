"""Recall of boxes, and mean average precision of tubes, over their overlap with the true ones (VideoLSTM, Fig. 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple, Self

from sqlalchemy.orm import Session

from services.board import network
from services.db.tables import ExperimentRow, StageRow
from services.errors import InvalidRequest, NotFound
from services.figures.canvas import HUES, Theme, write_title
from services.figures.choice import Choice
from services.figures.outputs import stages_of
from services.metrics import MEAN_IOU
from services.queue import experiments

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

NAME = "localization"
STAGE = "localize"
MEASURES: Mapping[str, str] = {"recall": "Recall", "map": "Video mAP"}
NONE = "nothing of it is localised, or its dataset has no boxes; evaluation.localization and --boxes are for that"


class Overlap(NamedTuple):
    """A curve: its name, and shares between 0 and 1 by intersection over union; ``floor`` is one of knowing nothing."""

    name: str
    ious: tuple[float, ...]
    values: tuple[float, ...]
    floor: bool = False

    @classmethod
    def of(cls, name: str, values: Mapping[str, float], *, floor: bool = False) -> Self:
        """Return the curve of values as a stage says them."""
        points = sorted((float(iou), value) for iou, value in values.items() if iou != MEAN_IOU)
        return cls(name, tuple(iou for iou, _ in points), tuple(value for _, value in points), floor)


@dataclass(frozen=True)
class Overlaps:
    """Curves by what they measure, a panel for each measure."""

    title: str
    panels: tuple[tuple[str, tuple[Overlap, ...]], ...]

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in inches."""
        names = {curve.name for _, curves in self.panels for curve in curves}
        return 1.0 + 4.0 * len(self.panels), 3.6 + 0.16 * len(names)

    def draw(self, canvas: Canvas, theme: Theme) -> None:
        """Draw the panels side by side: full lines for what was found, dashed ones for the middle of the frame."""
        canvas.set_layout_engine("constrained")
        found = canvas.subplots(1, len(self.panels), squeeze=False)[0]
        names = list(dict.fromkeys(curve.name for _, curves in self.panels for curve in curves))
        for axes, (title, curves) in zip(found, self.panels, strict=True):
            _draw(axes, title, curves, {name: HUES[theme][at % len(HUES[theme])] for at, name in enumerate(names)})
        handles, labels = found[0].get_legend_handles_labels()
        canvas.legend(handles, labels, loc="outside lower center", ncols=2)
        write_title(canvas, self.title)


def _draw(axes: Axes, title: str, curves: Sequence[Overlap], hues: Mapping[str, str]) -> None:
    for curve in curves:
        values = [100 * value for value in curve.values]
        style = "--" if curve.floor else "-"
        axes.plot(curve.ious, values, style, marker="o", markersize=3, color=hues[curve.name], label=curve.name)
    axes.set(title=title, xlabel="intersection over union", ylabel="%", ylim=(0, 100))
    axes.grid(visible=True, axis="y")


def drawn(title: str, measure: str, curves: Sequence[tuple[str, Mapping[str, float]]]) -> Overlaps:
    """Return a drawing of one measure, ``recall`` or ``map``, of several systems by their names."""
    return Overlaps(title, ((MEASURES[measure], tuple(Overlap.of(name, values) for name, values in curves)),))


def prepare(session: Session, experiment: ExperimentRow, choice: Choice) -> Overlaps:
    """Return the curves of an experiment by stream and split, means over seeds, and of a baseline beside them.

    Raises:
        InvalidRequest: no stage that localises is of this stream, split and seed.
        NotFound: there is none, or no baseline of that id.
    """
    if reason := lacks(session, experiment):
        raise NotFound(f"figure of {experiment.id}", NAME, reason)
    curves = _curves(session, experiment, choice, floor=True)
    if choice.baseline is not None:
        other = experiments.get(session, choice.baseline)
        if reason := lacks(session, other):
            raise InvalidRequest("baseline", choice.baseline, f"an experiment that localises; {reason}")
        for measure, found in _curves(session, other, choice, f"{other.name[:40]}, ").items():
            curves[measure] += found
    panels = tuple((title, tuple(curves[measure])) for measure, title in MEASURES.items())
    return Overlaps(f"{experiment.name[:80]}: boxes", panels)


def lacks(session: Session, experiment: ExperimentRow) -> str | None:
    """Say why an experiment has no such curves; None where it has."""
    return None if _localized(session, experiment) else NONE


def _localized(session: Session, experiment: ExperimentRow) -> list[StageRow]:
    return [row for row in stages_of(session, experiment, STAGE) if "recall" in (row.summary or {})]


def _curves(
    session: Session, experiment: ExperimentRow, choice: Choice, prefix: str = "", *, floor: bool = False
) -> dict[str, list[Overlap]]:
    rows = _localized(session, experiment)
    for name, wanted in (("stream", choice.stream), ("split", choice.split), ("seed", choice.seed)):
        rows = _of(rows, name, wanted)
    places: dict[tuple[str, int], list[StageRow]] = {}
    for row in rows:
        places.setdefault((network.filed(row.params), row.params["split"]), []).append(row)
    found: dict[str, list[Overlap]] = {}
    for measure in MEASURES:
        curves = [
            Overlap.of(f"{prefix}{stream}, split {split}", _mean(mine, measure))
            for (stream, split), mine in places.items()
        ]
        if floor:
            curves.append(Overlap.of("middle of the frame", _mean(rows, f"centre_{measure}"), floor=True))
        found[measure] = curves
    return found


def _of(rows: Sequence[StageRow], name: str, wanted: str | int | None) -> list[StageRow]:
    there = [network.filed(row.params) if name == "stream" else row.params[name] for row in rows]
    if wanted is not None and wanted not in there:
        raise InvalidRequest(name, wanted, ", ".join(map(str, sorted(set(there)))))
    return [row for row, value in zip(rows, there, strict=True) if wanted in (None, value)]


def _mean(rows: Sequence[StageRow], measure: str) -> dict[str, float]:
    """Return the mean over stages of what all of them measured."""
    found = [(row.summary or {}).get(measure, {}) for row in rows]
    return {iou: fmean(values[iou] for values in found) for iou in found[0] if all(iou in values for values in found)}
