"""Learning curves: loss and accuracy of each stage that trains, by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.db.tables import ExperimentRow, ExperimentStageRow, StageRow
from services.errors import InvalidRequest, NotFound
from services.figures.canvas import HUES, Theme, write_title
from services.figures.choice import Choice
from services.journal import curves
from services.journal.curves import Curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

NAME = "learning"
TRAINING = ("finetune", "train")
MOST_NAMED = 16
"""Stages that a legend names."""


@dataclass(frozen=True)
class Learning:
    """The curves of the stages that train."""

    title: str
    curves: tuple[Curve, ...]

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in inches."""
        return 9.0, 4.0 + 0.16 * min(len(self._stages), MOST_NAMED)

    @property
    def _stages(self) -> list[str]:
        return list(dict.fromkeys(curve.stage for curve in self.curves))

    def draw(self, canvas: Canvas, theme: Theme) -> None:
        """Draw loss and accuracy side by side: full lines for training, dashed ones for clips that are held out."""
        canvas.set_layout_engine("constrained")
        loss, accuracy = canvas.subplots(1, 2)
        stages, hues = self._stages, HUES[theme]
        for curve in self.curves:
            axes, scale = (loss, 1.0) if curve.metric.endswith("loss") else (accuracy, 100.0)
            axes.plot(
                curve.epochs,
                [scale * value for value in curve.values],
                color=hues[stages.index(curve.stage) % len(hues)],
                linestyle="-" if curve.metric.startswith("train") else "--",
                marker="o" if len(curve.epochs) < 2 else None,
                linewidth=1.4,
            )
        _label(loss, "Loss", "mean over samples")
        _label(accuracy, "Accuracy", "%")
        write_title(canvas, self.title)
        _name(canvas, {stage: hues[place % len(hues)] for place, stage in enumerate(stages[:MOST_NAMED])})


def prepare(session: Session, experiment: ExperimentRow, choice: Choice) -> Learning:
    """Return the curves that there are by now.

    Raises:
        InvalidRequest: no stage that trains is of this stream, split and seed.
        NotFound: there are no curves.
    """
    if reason := lacks(session, experiment):
        raise NotFound(f"figure of {experiment.id}", NAME, reason)
    rows = _training(session, experiment)
    for name in ("stream", "split", "seed"):
        rows = _of(rows, name, getattr(choice, name))
    keys = {row.key for row in rows}
    found = [curve for curve in curves.of_experiment(session, experiment.id) if curve.stage_key in keys]
    return Learning(f"{experiment.name[:80]}: training by epoch", tuple(found))


def lacks(session: Session, experiment: ExperimentRow) -> str | None:
    """Say why an experiment has no learning curves; None where it has."""
    if curves.begun(session, experiment.id):
        return None
    query = select(ExperimentStageRow.stage_key).join(StageRow, ExperimentStageRow.stage_key == StageRow.key)
    mine = (ExperimentStageRow.experiment_id == experiment.id, StageRow.kind.in_(TRAINING))
    if session.scalar(query.where(*mine).limit(1)) is None:
        return f"no stage of this experiment trains; those with a {' or '.join(TRAINING)} stage have it"
    return "no epoch has ended yet"


def _training(session: Session, experiment: ExperimentRow) -> Sequence[StageRow]:
    query = (
        select(StageRow)
        .join(ExperimentStageRow, ExperimentStageRow.stage_key == StageRow.key)
        .where(ExperimentStageRow.experiment_id == experiment.id, StageRow.kind.in_(TRAINING))
    )
    return session.scalars(query.order_by(ExperimentStageRow.position)).all()


def _of(rows: Sequence[StageRow], name: str, wanted: str | int | None) -> Sequence[StageRow]:
    """Return the stages that have a value of a parameter; both streams together are those of either."""
    if wanted in (None, "two-stream"):
        return rows
    found = [row for row in rows if wanted in _values(row, name)]
    if not found:
        there = sorted({str(value) for row in rows for value in _values(row, name)})
        raise InvalidRequest(name, wanted, ", ".join(there))
    return found


def _values(row: StageRow, name: str) -> Sequence[str | int]:
    if name == "stream" and "streams" in row.params:
        streams: list[str] = row.params["streams"]
        return streams
    value = row.params.get(name)
    return () if value is None else (value,)


def _label(axes: Axes, title: str, unit: str) -> None:
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415 - see `canvas`

    axes.set_title(title)
    axes.set_ylabel(unit)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(visible=True, axis="y")


def _name(canvas: Canvas, hues: Mapping[str, str]) -> None:
    from matplotlib.lines import Line2D  # noqa: PLC0415 - see `canvas`

    handles = [Line2D([], [], color=hue, label=words) for words, hue in hues.items()]
    canvas.legend(handles=handles, loc="outside lower center", ncols=2)
