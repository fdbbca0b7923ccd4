"""What a network wrote to its memory, on the frames, with the controller's probability (MATDL, Fig. 3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy.orm import Session

from services.db.tables import ExperimentRow, StageRow
from services.errors import DataError
from services.figures.canvas import HUES, Theme, write_title
from services.figures.images import decoded
from services.figures.outputs import Output, one_clip, scored
from services.figures.strips import draw_strip, frame_by, strip_height
from services.pictures import Strip, read_test
from services.scores.files import read_scores
from services.stores.artifacts import ArtifactStore

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

NAME = "memory"
CURVE_INCH = 1.9


@dataclass(frozen=True)
class Memory:
    """The decisions of a controller over the T steps of a clip.

    Attributes:
        title: in words.
        writes: whether each step was written.
        probability: of writing, 0 to 1.
        threshold: above which a step is written.
        steps: of which there are frames; none where the clip's were not kept.
        images: JPEGs of these.
        frame: width and height of a frame in pixels.
    """

    title: str
    writes: tuple[bool, ...]
    probability: tuple[float, ...]
    threshold: float | None
    steps: tuple[int, ...] = ()
    images: tuple[bytes, ...] = ()
    frame: tuple[int, int] = (1, 1)

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in inches."""
        strip = strip_height(len(self.images), self.frame) if self.images else 0.0
        return 10.0, strip + CURVE_INCH + 0.8

    def draw(self, canvas: Canvas, theme: Theme) -> None:
        """Draw frames, those that were written framed, over the probability of each step."""
        height, hue = self.size[1], HUES[theme][1]
        strip = strip_height(len(self.images), self.frame) if self.images else 0.01
        grid = canvas.add_gridspec(
            2, 1, height_ratios=(strip, CURVE_INCH), left=0.06, right=0.99, top=1 - 0.5 / height, bottom=0.45 / height,
            hspace=0.12,
        )  # fmt: skip
        width, tall = self.frame

        def mark(axes: Axes, number: int) -> None:
            if self.writes[self.steps[number]]:
                frame_by(axes, (0, 0, width, tall), hue, width=4.0)

        titles = [f"{step}: {self.probability[step]:.2f}" for step in self.steps]
        if self.images:
            draw_strip(canvas, grid[0], [decoded(image) for image in self.images], titles, self.frame, mark)
        self._curve(canvas.add_subplot(grid[1]), theme)
        write_title(canvas, self.title)

    def _curve(self, axes: Axes, theme: Theme) -> None:
        hues, places = HUES[theme], range(len(self.probability))
        colors = [hues[1] if written else hues[7] for written in self.writes]
        axes.bar(places, self.probability, color=colors, width=0.8)
        if self.threshold is not None:
            axes.axhline(self.threshold, color=hues[0], linestyle="--", linewidth=1)
        axes.set(ylim=(0, 1), xlim=(-0.6, len(self.probability) - 0.4), xlabel="step", ylabel="probability of writing")
        axes.grid(visible=True, axis="y")
        axes.set_axisbelow(True)


def found(session: Session, experiment: ExperimentRow) -> list[StageRow] | str:
    """Return the stages that have left memory writes, or say why there are none."""
    return scored(session, experiment, "embedded", "remembers")


def read(output: Output, wanted: str | None, store: ArtifactStore) -> Memory:
    """Return the memory writes of a test clip."""
    folder = store.fetch(output.place)
    left, scores = read_test(folder), read_scores(folder)
    if left.writes is None or left.probability is None or len(left.writes) != len(scores.clips):
        raise DataError(f"{output.words}: no memory writes for each of {len(scores.clips)} clips")
    kept = {strip.clip: strip for strip in left.strips}
    first = next(iter(kept), scores.clips[0])
    clip = one_clip(wanted, scores.clips) if wanted else first
    row, strip = scores.clips.index(clip), kept.get(clip)
    written = int(left.writes[row].sum())
    return Memory(
        title=f"{clip}: {written} of {left.writes.shape[1]} steps written; {output.words}",
        writes=tuple(map(bool, left.writes[row].tolist())),
        probability=tuple(left.probability[row].astype(float).round(4).tolist()),
        threshold=left.threshold,
        **_frames(strip),
    )


def _frames(strip: Strip | None) -> dict[str, Any]:
    return {} if strip is None else {"steps": strip.steps, "images": strip.images, "frame": strip.size}
