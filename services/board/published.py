"""What the papers print of a board: their own rows and those that they quote, which are never ranked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.papers import PAPERS, PrintedFigure, figures_of


@dataclass(frozen=True)
class Published:
    """A printed figure of a paper.

    Attributes:
        short: the paper, as it is cited.
        figure: what is printed, corrected where it is a misprint.
    """

    short: str
    figure: PrintedFigure


def published(dataset: str, split: int | None, stream: str, metric: str) -> Sequence[Published]:
    """Return what the papers print of a dataset, split (None for the mean), stream and metric, the highest first."""
    found = [
        Published(paper.short, figure)
        for paper in PAPERS.values()
        for table in paper.tables
        for figure in figures_of(paper.name, table.name)
        if (figure.dataset, figure.split, figure.reported_as, figure.metric) == (dataset, split, stream, metric)
        and figure.of is None
        and figure.said is not None
    ]
    return sorted(found, key=lambda each: (-(each.figure.said or 0.0), each.figure.place))
