"""Pictures of experiments, drawn from what Postgres holds of them and what stages left: nothing is trained again.

Each figure is one module; ``table`` has them by name. The same data draw the same bytes.
"""

from services.figures.canvas import FORMATS, THEMES, filmed, render
from services.figures.choice import Choice
from services.figures.outputs import Pending, loaded
from services.figures.table import FIGURES, Figure, clips, listing, prepared

__all__ = [
    "FIGURES",
    "FORMATS",
    "THEMES",
    "Choice",
    "Figure",
    "Pending",
    "clips",
    "filmed",
    "listing",
    "loaded",
    "prepared",
    "render",
]
