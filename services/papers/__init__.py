"""What the four papers print, which of it is misprinted or quoted, and the experiment behind each figure of their own.

`data/` has a file for each paper. To add one, write a file like its neighbours: `shapes.py` says what it may hold, and
every row of the paper's own names a system, which is a recipe with changes.
"""

from services.papers.printed import PrintedFigure, Source
from services.papers.reduction import Reduction
from services.papers.registry import PAPERS, figures_of, named_paper, named_table, own_figures
from services.papers.runs import MEMBER, Covered, Order, Run, Skipped, bodies, runs
from services.papers.shapes import PaperData, TableData

__all__ = [
    "MEMBER",
    "PAPERS",
    "Covered",
    "Order",
    "PaperData",
    "PrintedFigure",
    "Reduction",
    "Run",
    "Skipped",
    "Source",
    "TableData",
    "bodies",
    "figures_of",
    "named_paper",
    "named_table",
    "own_figures",
    "runs",
]
