"""Boxes of UCF101-24 (THUMOS13), from the corrected annotations' ``pyannot.pkl``.

Measured on that file: most box arrays are uint8, so that ``x + width`` overflows unless it is cast first; ``sf`` is
counted from 0 and ``ef`` is exclusive. A pickle can run code: this reader admits numpy's arrays and numbers only.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.errors import DataError

CLASSES = (
    "Basketball BasketballDunk Biking CliffDiving CricketBowling Diving Fencing FloorGymnastics GolfSwing HorseRiding "
    "IceDancing LongJump PoleVault RopeClimbing SalsaSpin SkateBoarding Skiing Skijet SoccerJuggling Surfing "
    "TennisSwing TrampolineJumping VolleyballSpiking WalkingWithDog"
)
"""The 24 classes by label, blank between."""
ALLOWED = {
    (module, name)
    for module in ("numpy", "numpy.core.multiarray", "numpy._core.multiarray")
    for name in ("ndarray", "dtype", "scalar", "_reconstruct")
}
MALFORMED = (OSError, pickle.UnpicklingError, EOFError, ImportError, LookupError, AttributeError, TypeError, ValueError)
"""What reading a file raises that holds something else, or was cut short."""


@dataclass(frozen=True)
class Tube:
    """An action in a clip.

    Attributes:
        label: of 24, from 0.
        first: first frame, from 0.
        boxes: int32 (n, 4): x, y, width, height in pixels, one row for each frame from ``first`` on.
    """

    label: int
    first: int
    boxes: NDArray[np.int32]


@dataclass(frozen=True)
class BoxedClip:
    """A clip of UCF101-24: its frames by the annotation, and its tubes."""

    frames: int
    tubes: tuple[Tube, ...]


class _NumpyOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"holds {module}.{name}, allowed: numpy arrays and numbers")
        return super().find_class(module, name)


def read_boxes(file: Path) -> dict[str, BoxedClip]:
    """Read ``pyannot.pkl``: clips by id, such as ``Basketball/v_Basketball_g01_c01``.

    Raises:
        DataError: the file is missing, holds anything but numpy's types, or a tube's boxes do not match its frames.
    """
    try:
        with file.open("rb") as content:
            entries = _NumpyOnly(content, encoding="latin1").load()
        return {str(name): _clip(file, str(name), entry) for name, entry in entries.items()}
    except MALFORMED as error:
        raise DataError(f"{file}: no boxes of UCF101-24: {error}") from error


def _clip(file: Path, name: str, entry: dict[str, Any]) -> BoxedClip:
    tubes = []
    for annotation in entry["annotations"]:
        boxes = np.asarray(annotation["boxes"]).astype(np.int32)
        first, end = int(annotation["sf"]), int(annotation["ef"])
        if boxes.shape != (end - first, 4):
            raise DataError(f"{file}: {name}: boxes {boxes.shape} for frames {first} to {end - 1}")
        tubes.append(Tube(label=int(annotation["label"]), first=first, boxes=boxes))
    return BoxedClip(frames=int(entry["numf"]), tubes=tuple(tubes))
