"""Tubes that a network found beside the true ones, on the frames of a clip (VideoLSTM, sec. 4)."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from services.db.tables import ExperimentRow, StageInputRow, StageRow
from services.errors import DataError, NotFound
from services.figures.canvas import HUES, Theme, write_title
from services.figures.choice import Choice
from services.figures.images import decoded
from services.figures.outputs import (
    Output,
    Pending,
    chosen,
    clips_of,
    finished,
    kinds_that,
    scored,
    stages_of,
    strip_of,
)
from services.figures.strips import draw_strip, frame_by, strip_height
from services.pictures import read_test
from services.stores.artifacts import ArtifactStore

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

NAME = "tubes"
TUBES_FILE = "tubes.npz"
MOST_FRAMES = 16

Box = tuple[float, ...]


@dataclass(frozen=True)
class Tubes:
    """Boxes on the frames of a clip, left, top, right and bottom in pixels of a frame.

    Attributes:
        title: in words.
        frames: numbers of S frames.
        images: JPEGs of them.
        frame: width and height of a frame in pixels.
        found: the box in each frame; None where the tube has none.
        true: the true boxes in each frame.
        known: whether true boxes of the clip are known.
    """

    title: str
    frames: tuple[int, ...]
    images: tuple[bytes, ...]
    frame: tuple[int, int]
    found: tuple[Box | None, ...]
    true: tuple[tuple[Box, ...], ...]
    known: bool

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in inches."""
        return 10.0, strip_height(len(self.images), self.frame) + 0.75

    def draw(self, canvas: Canvas, theme: Theme) -> None:
        """Draw what was found with a full line, what is true with a dashed one."""
        from matplotlib.lines import Line2D  # noqa: PLC0415 - see `canvas`

        hues, height = HUES[theme], self.size[1]
        grid = canvas.add_gridspec(1, 1, left=0.01, right=0.99, top=1 - 0.42 / height, bottom=0.3 / height)

        def mark(axes: Axes, number: int) -> None:
            for box in self.true[number]:
                frame_by(axes, box, hues[2], dashed=True)
            found = self.found[number]
            if found is not None:
                frame_by(axes, found, hues[1])

        titles = [self._words(number) for number in range(len(self.frames))]
        draw_strip(canvas, grid[0], [decoded(image) for image in self.images], titles, self.frame, mark)
        write_title(canvas, self.title)
        lines = [Line2D([], [], color=hues[1], label="found")]
        if self.known:
            lines.append(Line2D([], [], color=hues[2], linestyle="--", label="true"))
        canvas.legend(handles=lines, loc="lower center", ncols=2)

    def _words(self, number: int) -> str:
        found, true = self.found[number], self.true[number]
        if found is None or not true:
            return f"frame {self.frames[number]}"
        return f"frame {self.frames[number]}, IoU {max(overlap(found, box) for box in true):.2f}"


def prepare(session: Session, experiment: ExperimentRow, choice: Choice) -> Pending:
    """Return the tubes of a test clip, to be read."""
    rows = _found(session, experiment)
    if isinstance(rows, str):
        raise NotFound(f"figure of {experiment.id}", NAME, rows)
    output = chosen(rows, experiment, NAME, choice)
    pictured = scored(session, experiment, "pictured", "attends")
    row = next(row for row in rows if row.output == output.place)
    inputs = set(session.scalars(select(StageInputRow.input_key).where(StageInputRow.stage_key == row.key)))
    own = pictured if isinstance(pictured, str) else [score for score in pictured if score.key in inputs]
    return Pending(
        partial(_read, output, chosen(own, experiment, NAME, Choice(clip=choice.clip), "pictured"), choice.clip)
    )


def lacks(session: Session, experiment: ExperimentRow) -> str | None:
    """Say why an experiment has no tubes to show; None where it has."""
    found = _found(session, experiment)
    if isinstance(found, str):
        return found
    pictured = scored(session, experiment, "pictured", "attends")
    return pictured if isinstance(pictured, str) else None


def clips(session: Session, experiment: ExperimentRow) -> tuple[str, ...]:
    """Return the clips of which it is there."""
    return clips_of(scored(session, experiment, "pictured", "attends")) if lacks(session, experiment) is None else ()


def overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the intersection of two boxes over their union, 0 to 1."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(0.0, width) * max(0.0, height)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return shared / max(sum(areas) - shared, 1e-9)


def _found(session: Session, experiment: ExperimentRow) -> list[StageRow] | str:
    rows = stages_of(session, experiment, "localize")
    if rows:
        return finished(rows)
    kinds = ", ".join(kinds_that("attends"))
    return f"no stage of this experiment localises; those with evaluation.localization and a network of {kinds} do"


def _read(output: Output, scores: Output, wanted: str | None, store: ArtifactStore) -> Tubes:
    strip = strip_of(read_test(store.fetch(scores.place)).strips, wanted)
    arrays = _arrays(store.fetch(output.place) / TUBES_FILE)
    found = _tube(arrays, strip.clip)
    true = _true(arrays, strip.clip)
    kept = np.unique(np.linspace(0, len(strip.frames) - 1, min(MOST_FRAMES, len(strip.frames))).round().astype(int))
    frames = tuple(strip.frames[place] for place in kept)
    return Tubes(
        title=f"Tubes of {strip.clip}; {output.words}" + ("" if true else "; no true boxes are known"),
        frames=frames,
        images=tuple(strip.images[place] for place in kept),
        frame=strip.size,
        found=tuple(_box(found[frame]) if frame < len(found) else None for frame in frames),
        true=tuple(
            tuple(_box(boxes[frame - first]) for first, boxes in true if 0 <= frame - first < len(boxes))
            for frame in frames
        ),
        known=bool(true),
    )


def _arrays(path: Path) -> Mapping[str, NDArray[Any]]:
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as found:
            return {name: found[name] for name in found.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: no tubes: {error!r}") from error


def _tube(arrays: Mapping[str, NDArray[Any]], clip: str) -> NDArray[np.float32]:
    """Return the boxes of a clip from frame 0 on, ``(frames, 4)``."""
    clips = arrays["clips"].tolist()
    if clip not in clips:
        raise DataError(f"no tube of {clip}")
    ends = np.cumsum(arrays["lengths"])
    last = int(ends[clips.index(clip)])
    found: NDArray[np.float32] = arrays["boxes"][last - int(arrays["lengths"][clips.index(clip)]) : last]
    return found


def _true(arrays: Mapping[str, NDArray[Any]], clip: str) -> list[tuple[int, NDArray[np.float32]]]:
    """Return the first frame and the boxes of each true tube of a clip; files of before have none."""
    names = arrays.get("true_clips", np.zeros(0, np.str_)).tolist()
    ends = np.cumsum(arrays.get("true_lengths", np.zeros(0, np.int64)))
    return [
        (
            int(arrays["true_firsts"][place]),
            arrays["true_boxes"][int(end) - int(arrays["true_lengths"][place]) : int(end)],
        )
        for place, (name, end) in enumerate(zip(names, ends, strict=True))
        if name == clip
    ]


def _box(values: NDArray[np.float32]) -> Box:
    """Return left, top, right and bottom of a box that has a width and a height."""
    left, top, width, height = values.astype(float).round(2).tolist()
    return left, top, left + width, top + height
