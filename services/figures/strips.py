"""Frames of a clip side by side on a canvas, in rows, with something drawn on each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas
    from matplotlib.gridspec import SubplotSpec

ACROSS, FEWEST = 8, 4
"""Frames in a row, and as how many the frames of a shorter one are sized."""
ROW_INCH = 9.2

Draw = Callable[["Axes", int], None]


def across(frames: int) -> int:
    """Return the number of columns for so many frames."""
    return max(FEWEST, min(ACROSS, frames))


def strip_height(frames: int, size: tuple[int, int]) -> float:
    """Return the height in inches of the rows of frames of a width and height."""
    columns = across(frames)
    return -(-frames // columns) * (ROW_INCH / columns * size[1] / size[0] + 0.22)


def draw_strip(
    canvas: Canvas,
    place: SubplotSpec,
    images: Sequence[NDArray[np.uint8]],
    titles: Sequence[str],
    size: tuple[int, int],
    on: Draw,
) -> None:
    """Draw frames side by side.

    Args:
        canvas: takes them.
        place: on it.
        images: uint8 (H, W, 3).
        titles: of each.
        size: width and height of the clip's own frames: coordinates on a frame are in their pixels.
        on: draws on the axes of the frame with a number.
    """
    columns = across(len(images))
    grid = place.subgridspec(-(-len(images) // columns), columns, wspace=0.06, hspace=0.25)
    for number, (image, title) in enumerate(zip(images, titles, strict=True)):
        axes = canvas.add_subplot(grid[divmod(number, columns)])
        axes.imshow(image, extent=(0, size[0], size[1], 0), interpolation="bilinear")
        axes.set(xticks=[], yticks=[], xlim=(0, size[0]), ylim=(size[1], 0))
        axes.set_title(title, fontsize=6, pad=2)
        axes.spines[:].set_visible(False)
        on(axes, number)


def frame_by(axes: Axes, box: Sequence[float], hue: str, *, dashed: bool = False, width: float = 1.6) -> None:
    """Draw a box, left, top, right, bottom."""
    from matplotlib.patches import Rectangle  # noqa: PLC0415 - see `canvas`

    left, top, right, bottom = box
    axes.add_patch(
        Rectangle(
            (left, top),
            right - left,
            bottom - top,
            fill=False,
            edgecolor=hue,
            linewidth=width,
            linestyle="--" if dashed else "-",
        )
    )
