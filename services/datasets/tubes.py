"""Where the actions of a dataset's clips are: tubes, a box in each of some frames in a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Coordinates = NDArray[np.float64]


@dataclass(frozen=True)
class Tube:
    """One action in a clip, or a box that follows one.

    Attributes:
        label: of its class, from 0.
        first: first frame, from 0.
        boxes: ``(n, 4)``: left, top, width and height in pixels, from 0 at the frame's corner; one row for each frame
            from ``first`` on.
    """

    label: int
    first: int
    boxes: Coordinates

    @property
    def end(self) -> int:
        """The frame after its last one."""
        return self.first + len(self.boxes)


@dataclass(frozen=True)
class BoxedClip:
    """A clip whose actions are known: its frames by the annotation, and its tubes."""

    frames: int
    tubes: tuple[Tube, ...]


@dataclass(frozen=True)
class Boxes:
    """The actions of a dataset's clips.

    Attributes:
        classes: names by the label of a tube.
        clips: by id, such as ``Basketball/v_Basketball_g01_c01``.
        digest: SHA-256 of what they come from; those of one are the same.
    """

    classes: tuple[str, ...]
    clips: Mapping[str, BoxedClip]
    digest: str
