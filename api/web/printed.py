"""What papers print of an experiment that stands behind a row of theirs, beside its own results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from api.board import Result, Value
from services.board import paper_table
from services.db.engine import Session
from services.metrics import METRICS, PRIMARY
from services.papers import PAPERS, PaperData, PrintedFigure


@dataclass(frozen=True)
class Beside:
    """A printed accuracy beside that of an experiment; None where that is not measured yet."""

    figure: PrintedFigure
    reduced: bool
    value: Value | None

    @property
    def paper(self) -> PaperData:
        """The paper that prints it."""
        return PAPERS[self.figure.paper]

    @property
    def difference(self) -> float | None:
        """Measured less printed, or corrected, in points."""
        return None if self.value is None or self.figure.said is None else 100 * self.value.value - self.figure.said


def printed(session: Session, experiment_id: str, results: Sequence[Result]) -> dict[str, Any]:
    """Return the printed accuracies beside an experiment's own, and where its other figures stand."""
    values = {(each.stream, each.split): each.metrics.get(PRIMARY) for each in results if each.seed is None}
    found = paper_table.of_experiment(session, experiment_id)
    beside = [
        Beside(figure, reduced, values.get((figure.reported_as, figure.split)))
        for figure, reduced in found
        if figure.metric == PRIMARY and not figure.drawn
    ]
    others = [figure for figure, _ in found if figure.metric != PRIMARY or figure.drawn]
    return {
        "printed_figures": beside,
        "printed_elsewhere": len(others),
        "printed_tables": list(dict.fromkeys((figure.paper, figure.table) for figure in others)),
        "share": METRICS[PRIMARY],
    }
