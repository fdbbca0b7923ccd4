"""Where a network looks: its attention laid over the frames of a clip, as a picture and as a film (VideoLSTM)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from services.db.tables import ExperimentRow, StageRow
from services.errors import DataError
from services.figures.canvas import INK, Theme, write_title
from services.figures.images import Raster, enlarged, film, greyed
from services.figures.outputs import Output, scored, strip_of
from services.figures.strips import draw_strip, frame_by, strip_height
from services.pictures import read_test
from services.stores.artifacts import ArtifactStore

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

NAME = "attention"
SHADES = "inferno"
STRONGEST = 0.75
"""How much of a frame the brightest spot of its map covers."""
FILM_SIDE = 224
"""Pixels of the short side of a film."""


@dataclass(frozen=True)
class Attention:
    """Maps over the frames of a clip.

    Attributes:
        title: in words.
        frames: numbers of S frames.
        images: JPEGs of them.
        frame: width and height of a frame in pixels.
        region: left, top, width and height of what maps cover.
        maps: ``(S, h, w)``.
    """

    title: str
    frames: tuple[int, ...]
    images: tuple[bytes, ...]
    frame: tuple[int, int]
    region: tuple[float, float, float, float]
    maps: Raster

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in inches."""
        return 10.0, strip_height(len(self.images), self.frame) + 0.45

    def draw(self, canvas: Canvas, theme: Theme) -> None:
        """Draw grey frames with their maps on them, each from its own least to its own largest share."""
        left, top, width, height = self.region
        grid = canvas.add_gridspec(1, 1, left=0.01, right=0.99, top=1 - 0.42 / self.size[1], bottom=0.01)

        def lay(axes: Axes, number: int) -> None:
            shares = relative(self.maps.values[number])
            extent = (left, left + width, top + height, top)
            axes.imshow(
                shares, alpha=STRONGEST * shares, cmap=SHADES, vmin=0, vmax=1, extent=extent, interpolation="nearest"
            )
            axes.set(xlim=(0, self.frame[0]), ylim=(self.frame[1], 0))
            frame_by(axes, (left, top, left + width, top + height), INK[theme][2], width=0.8)

        titles = [f"frame {frame}" for frame in self.frames]
        draw_strip(canvas, grid[0], [greyed(image) for image in self.images], titles, self.frame, lay)
        write_title(canvas, self.title)

    def film(self) -> bytes:
        """Return an animated WebP, a frame for each step."""
        return film(tuple(Raster.of(self._laid(number)) for number in range(len(self.images))))

    def _laid(self, number: int) -> NDArray[np.uint8]:
        """Return a frame with its map on it, uint8 (H, W, 3)."""
        from matplotlib import colormaps  # noqa: PLC0415 - see `canvas`

        frame = greyed(self.images[number])
        scale = FILM_SIDE / min(frame.shape[:2])
        tall, wide = (max(1, round(side * scale)) for side in frame.shape[:2])
        large = np.stack([enlarged(frame[..., channel], tall, wide) for channel in range(3)], axis=-1)
        left, top, width, height = self.region
        across, down = wide / self.frame[0], tall / self.frame[1]
        fine = enlarged(
            relative(self.maps.values[number]), max(1, round(height * down)), max(1, round(width * across))
        ).clip(0, 1)
        covered = np.zeros((tall, wide), np.float32)
        row, column = max(0, round(top * down)), max(0, round(left * across))
        part = fine[: tall - row, : wide - column]
        covered[row : row + part.shape[0], column : column + part.shape[1]] = part
        alpha = STRONGEST * covered[..., None]
        colours = 255 * colormaps[SHADES](covered)[..., :3]
        laid: NDArray[np.uint8] = ((1 - alpha) * large + alpha * colours).clip(0, 255).round().astype(np.uint8)
        return laid


def relative(shares: NDArray[Any]) -> NDArray[np.float32]:
    """Return a map between 0, its least share, and 1, its largest; zeros where all are equal."""
    values = shares.astype(np.float32)
    span = values.max() - values.min()
    return (values - values.min()) / span if span > 0 else np.zeros_like(values)


def found(session: Session, experiment: ExperimentRow) -> list[StageRow] | str:
    """Return the stages that have left attention, or say why there are none."""
    return scored(session, experiment, "pictured", "attends")


def read(output: Output, wanted: str | None, store: ArtifactStore) -> Attention:
    """Return the attention on a test clip."""
    strip = strip_of(read_test(store.fetch(output.place)).strips, wanted)
    if strip.attention is None:
        raise DataError(f"{output.words}: no attention on {strip.clip}")
    title = f"Attention on {strip.clip}; {output.words}"
    maps = Raster.of(strip.attention)
    return Attention(title, strip.frames, strip.images, strip.size, strip.region, maps)
