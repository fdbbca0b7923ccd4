"""The curves of a paper's figure as they were measured here."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.orm import Session

from services.board import paper_table
from services.errors import InvalidRequest, NotFound
from services.figures import overlap
from services.figures.overlap import Overlaps
from services.papers import PaperData
from services.papers.shapes import TableData

MEASURES = {"recall": "recall", "video_map": "map"}


def prepared(session: Session, paper: PaperData, table: TableData, wanted: Sequence[str] | None) -> Overlaps:
    """Return a drawing of curves, of those that are wanted, or of all that were measured.

    Raises:
        InvalidRequest: the figure has no such curve, or it was not measured.
        NotFound: the table is not drawn, or none of its curves was measured.
    """
    lines = [line for line in paper_table.filled(session, paper.name, table.name) if line.curves]
    there = {curve.name: curve.measured for line in lines for curve in line.curves}
    measured = {name: found.curve for name, found in there.items() if found is not None}
    for name in wanted or ():
        if name not in measured:
            why = ", ".join(measured) or "none is measured yet"
            raise InvalidRequest("curves", name, why if name in there else ", ".join(there))
    if not measured:
        missing = "its figures are numbers" if not there else f"none of {', '.join(there)} was measured yet"
        raise NotFound(f"curves of {paper.name}", table.name, missing)
    shown = [(name, values) for name, values in measured.items() if wanted is None or name in wanted]
    title = f"{paper.short}, {table.name}: measured here"
    return overlap.drawn(title, MEASURES[lines[0].figure.metric], shown)
