"""Pictures of experiments, drawn from what Postgres holds of them: nothing is trained or read from files again.

Each figure is one module; ``table`` has them by name. The same data draw the same bytes.
"""

from services.figures.canvas import FORMATS, THEMES, render
from services.figures.choice import Choice
from services.figures.table import FIGURES, Figure, listing, prepared

__all__ = ["FIGURES", "FORMATS", "THEMES", "Choice", "Figure", "listing", "prepared", "render"]
