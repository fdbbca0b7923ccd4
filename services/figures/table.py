"""The figures by name; one more is one module and one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from sqlalchemy.orm import Session

from services.db.tables import ExperimentRow
from services.errors import InvalidRequest, NotFound
from services.figures import classes, confusion, learning
from services.figures.canvas import Drawing
from services.figures.choice import Choice
from services.queue import experiments

PLACE = ("stream", "split", "seed")


@dataclass(frozen=True)
class Figure:
    """A kind of picture.

    Attributes:
        name: by which it is asked for.
        title: in words.
        prepare: reads its data; the drawing needs no database.
        lacks: says why an experiment does not have it, None where it does.
        parameters: what of a choice it goes by.
    """

    name: str
    title: str
    prepare: Callable[[Session, ExperimentRow, Choice], Drawing]
    lacks: Callable[[Session, ExperimentRow], str | None]
    parameters: tuple[str, ...] = PLACE


FIGURES: Mapping[str, Figure] = MappingProxyType(
    {
        figure.name: figure
        for figure in (
            Figure(learning.NAME, "Learning curves", learning.prepare, learning.lacks),
            Figure(confusion.NAME, "Confusion of classes", confusion.prepare, confusion.lacks),
            Figure(classes.ACCURACY, "Accuracy by class", classes.prepare_accuracy, classes.lacks),
            Figure(
                classes.GAIN, "Gain by class over a baseline", classes.prepare_gain, classes.lacks, (*PLACE, "baseline")
            ),
        )
    }
)


def listing(session: Session, experiment_id: str) -> list[tuple[Figure, str | None]]:
    """Return every figure, and why the experiment does not have it."""
    experiment = experiments.get(session, experiment_id)
    return [(figure, figure.lacks(session, experiment)) for figure in FIGURES.values()]


def prepared(session: Session, experiment_id: str, name: str, choice: Choice) -> Drawing:
    """Return a figure that is ready to be drawn.

    Raises:
        InvalidRequest: a part of the choice is not there, or no part of this figure.
        NotFound: there is no such experiment or figure, or the experiment does not have it.
    """
    experiment = experiments.get(session, experiment_id)
    if name not in FIGURES:
        raise NotFound("figure", name, f"one of {', '.join(FIGURES)}")
    figure = FIGURES[name]
    if choice.baseline is not None and "baseline" not in figure.parameters:
        raise InvalidRequest("baseline", choice.baseline, f"none: {name} goes by {', '.join(figure.parameters)}")
    return figure.prepare(session, experiment, choice)
