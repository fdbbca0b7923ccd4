"""Optical flow as colours: direction as hue, speed as saturation, on Middlebury's wheel (Baker et al., IJCV 2011)."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from services.db.tables import ExperimentRow, StageRow
from services.errors import DataError
from services.figures.canvas import Theme, write_title
from services.figures.images import Raster, decoded
from services.figures.outputs import Output, finished, one_clip, stages_of
from services.pictures import PICTURES_FILE, read_flow
from services.stores.artifacts import ArtifactStore
from services.stores.names import Place

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

NAME = "flow"
ARCS = (("red", 15), ("yellow", 6), ("green", 4), ("cyan", 11), ("blue", 13), ("magenta", 6))
"""Colours of the wheel from one named to the next: 55."""
FASTEST_SHARE = 99.5
"""Percentile of the speeds of a clip that is fully saturated, as the key says."""
LEGEND_SIDE = 101


@dataclass(frozen=True)
class Flow:
    """Frames of a clip with the flow to the next ones.

    Attributes:
        title: in words.
        frames: numbers of S frames.
        images: JPEGs of them.
        colours: uint8 ``(S, h, w, 3)``.
        fastest: speed that is fully saturated.
        unit: of it.
    """

    title: str
    frames: tuple[int, ...]
    images: tuple[bytes, ...]
    colours: Raster
    fastest: float
    unit: str

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in inches."""
        height, width = self.colours.shape[1:3]
        return 10.0, 2 * (8.4 / max(4, len(self.frames))) * height / width + 0.85

    def draw(self, canvas: Canvas, theme: Theme) -> None:  # noqa: ARG002 - colours mean directions, in any theme
        """Draw each frame over its flow, and the wheel beside them."""
        columns, height = max(4, len(self.frames)), self.size[1]
        grid = canvas.add_gridspec(
            2, columns + 1, left=0.01, right=0.99, top=1 - 0.6 / height, bottom=0.02, wspace=0.05, hspace=0.05
        )
        for column, (frame, image) in enumerate(zip(self.frames, self.images, strict=True)):
            for row, picture in enumerate((decoded(image), self.colours.values[column])):
                axes = canvas.add_subplot(grid[row, column])
                axes.imshow(picture, interpolation="bilinear")
                axes.set_axis_off()
                if row == 0:
                    axes.set_title(f"frame {frame}", fontsize=7, pad=2)
        key = canvas.add_subplot(grid[1, columns])
        key.imshow(legend())
        key.set_axis_off()
        key.set_title(f"rim: {self.fastest:.3g} {self.unit}", fontsize=6, pad=2)
        write_title(canvas, self.title)


def wheel() -> NDArray[np.float64]:
    """Return Middlebury's 55 colours, 0 to 1, ``(55, 3)``: from red over yellow, green, cyan, blue and magenta."""
    corners = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 1, 1], [0, 0, 1], [1, 0, 1]], np.float64)
    parts = [
        corners[at] + (corners[(at + 1) % 6] - corners[at]) * (np.floor(255 * np.arange(steps) / steps) / 255)[:, None]
        for at, (_, steps) in enumerate(ARCS)
    ]
    return np.concatenate(parts)


def colours(motion: NDArray[np.floating[Any]], fastest: float) -> NDArray[np.uint8]:
    """Return flow as colours, uint8 (..., h, w, 3), as Middlebury's ``computeColor``.

    Args:
        motion: ``(..., 2, h, w)``, x to the right and y downwards.
        fastest: speed at the rim of the wheel; what is faster is darkened.
    """
    # Plus zero: the two zeros of a float are directions apart.
    x, y = (motion[..., at, :, :].astype(np.float64) / fastest + 0.0 for at in (0, 1))
    speed = np.hypot(x, y)[..., None]
    hues = wheel()
    place = (np.arctan2(-y, -x) / np.pi + 1) / 2 * (len(hues) - 1)
    low = np.floor(place).astype(np.int64)
    part = (place - low)[..., None]
    pure = (1 - part) * hues[low] + part * hues[(low + 1) % len(hues)]
    shown = np.where(speed <= 1, 1 - speed * (1 - pure), 0.75 * pure)
    found: NDArray[np.uint8] = np.floor(255 * shown).astype(np.uint8)
    return found


def legend() -> NDArray[np.uint8]:
    """Return the wheel as a picture, white outside: a position is the motion that has its colour."""
    places = np.linspace(-1, 1, LEGEND_SIDE)
    motion = np.stack(np.meshgrid(places, places))
    found = colours(motion, 1.0)
    found[np.hypot(*motion) > 1] = 255
    return found


def found(session: Session, experiment: ExperimentRow) -> list[StageRow] | str:
    """Return the stages that have left flow, or say why there are none."""
    rows = stages_of(session, experiment, "flow", "gpu_flow")
    if not rows:
        return "no stage of this experiment computes flow; those with a flow stream and flow.storage stored do"
    ended = finished(rows)
    if isinstance(ended, str):
        return ended
    pictured = [row for row in ended if (row.summary or {}).get("pictured")]
    again = "`twostream cache gc --kind flow`, and the experiment again"
    return pictured or f"its flow was computed by a version that left no pictures; hint: {again}"


def read(output: Output, wanted: str | None, store: ArtifactStore) -> Flow:
    """Return the flow of a clip."""
    place = Place.of(output.place)
    assert place is not None, output.place
    with tempfile.TemporaryDirectory(prefix="flow-") as folder:  # the flow of all clips may be large: this file alone
        store.bring([PICTURES_FILE], place.key, place.attempt, place.name, Path(folder))
        strips = read_flow(Path(folder))
    if not strips:
        raise DataError(f"{output.words}: no flow was kept")
    clip = one_clip(wanted, [strip.clip for strip in strips])
    strip = next(strip for strip in strips if strip.clip == clip)
    return Flow(
        title=f"Flow of {clip}; {output.params['algorithm']}",
        frames=strip.frames,
        images=strip.images,
        colours=Raster.of(colours(strip.motion, fastest := _fastest(strip.motion))),
        fastest=fastest,
        unit="pixels a frame" if strip.in_pixels else "of each field's range",
    )


def _fastest(motion: NDArray[np.floating[Any]]) -> float:
    speeds: Sequence[float] = np.hypot(*np.moveaxis(motion.astype(np.float64), 1, 0))
    return max(float(np.percentile(speeds, FASTEST_SHARE)), 1e-3)
