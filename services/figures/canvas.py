"""Turns a drawing into SVG or PNG by Matplotlib, in light or dark: the same drawing gives the same bytes.

Matplotlib is loaded when the first figure is asked for: half a second and 40 MB that most processes never need.
"""

from __future__ import annotations

import io
import threading
from functools import lru_cache
from textwrap import fill
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from services.errors import InvalidRequest

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

Format = Literal["svg", "png"]
Form = Literal["svg", "png", "webp"]
"""A format, or that of a film."""
Theme = Literal["light", "dark"]
FORMATS: tuple[Format, ...] = ("svg", "png")
THEMES: tuple[Theme, ...] = ("light", "dark")
MEDIA_TYPES: dict[Form, str] = {"svg": "image/svg+xml", "png": "image/png", "webp": "image/webp"}

INK: dict[Theme, tuple[str, str, str]] = {
    "light": ("#fdfdfc", "#1b1f24", "#d9d9d4"),
    "dark": ("#15181c", "#e8e6e1", "#363c43"),
}
"""Paper, ink and lines, as the pages' style sheet has them."""
HUES: dict[Theme, tuple[str, ...]] = {
    "light": ("#0b57a4", "#b3541e", "#1a6b35", "#7b3fa0", "#8a6d00", "#a3221c", "#0f7b83", "#57606a"),
    "dark": ("#83b8f2", "#f0a571", "#7fce97", "#cfa2ec", "#dcc25c", "#f2958f", "#6fd0d8", "#a3a8ae"),
}
DOTS_PER_INCH = 144
TITLE_POINTS, LETTERS_PER_INCH = 10, 11
"""Size of a title, and how many letters of that size find room in an inch. They are counted: Matplotlib's own wrapping
takes dollars for mathematics."""
KEPT = 32
"""Rendered figures that a process remembers."""

_one_at_a_time = threading.Lock()
"""Matplotlib's caches of fonts are not made for several threads."""


class Drawing(Protocol):
    """Data of a figure that know how to draw themselves; equal ones are equal, so that none is rendered twice."""

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in inches."""
        raise NotImplementedError

    def draw(self, canvas: Canvas, theme: Theme) -> None:
        """Draw onto an empty canvas."""
        raise NotImplementedError

    def __hash__(self) -> int:
        """Return the same number for equal drawings."""
        raise NotImplementedError


@runtime_checkable
class Moving(Protocol):
    """A drawing that is there as a film too."""

    def film(self) -> bytes:
        """Return an animated WebP."""
        raise NotImplementedError


def filmed(drawing: Drawing) -> bytes:
    """Return a drawing as a film.

    Raises:
        InvalidRequest: it does not move.
    """
    if not isinstance(drawing, Moving):
        raise InvalidRequest("form", "webp", "svg or png: this figure does not move")
    return drawing.film()


@lru_cache(maxsize=KEPT)
def render(drawing: Drawing, form: Format, theme: Theme = "light") -> bytes:
    """Return a drawing as the bytes of a file."""
    from matplotlib import rc_context  # noqa: PLC0415 - see above
    from matplotlib.figure import Figure as Canvas  # noqa: PLC0415

    written = io.BytesIO()
    with _one_at_a_time, rc_context(_look(theme)):
        canvas = Canvas(figsize=drawing.size)
        drawing.draw(canvas, theme)
        unstamped = {"Date": None, "Creator": None} if form == "svg" else {"Software": None}
        canvas.savefig(written, format=form, dpi=DOTS_PER_INCH, metadata=unstamped)
    return written.getvalue()


def write_title(canvas: Canvas, words: str) -> None:
    """Write a title over the whole canvas, in as many lines as it takes."""
    width = int(LETTERS_PER_INCH * canvas.get_figwidth())
    canvas.suptitle(fill(words, width, break_on_hyphens=False), fontsize=TITLE_POINTS)


def _look(theme: Theme) -> Any:
    paper, ink, line = INK[theme]
    return {
        "svg.hashsalt": "twostream",
        "font.family": "DejaVu Sans",  # comes with Matplotlib
        "font.size": 9,
        "figure.facecolor": paper,
        "axes.facecolor": paper,
        "axes.edgecolor": line,
        "axes.labelcolor": ink,
        "axes.titlecolor": ink,
        "axes.titlesize": TITLE_POINTS,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "grid.color": line,
        "grid.linewidth": 0.6,
        "text.color": ink,
        "text.parse_math": False,  # a name may have dollars
        "xtick.color": ink,
        "ytick.color": ink,
        "legend.frameon": False,
        "legend.fontsize": 8,
    }
