"""Boxes of UCF101-24 (THUMOS13), from either file in which they are public.

    pyannot.pkl       the corrected annotations: by clip, tubes with their first frame, from 0, and boxes of left, top,
                      width and height; left and top count from 1, and most are uint8, so that sums overflow
    UCF101v2-GT.pkl   as mmaction2 uses them: by clip and class, rows of frame, from 1, left, top, right and bottom

Paths, as the API and the workers see them, are all that a registration keeps of a file, with its hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from services.datasets.box_file import content_of
from services.datasets.numbers import Array, Numbers, unpickle
from services.datasets.tubes import BoxedClip, Boxes, Coordinates, Tube
from services.errors import DataError
from services.words import counted

CLASSES = (
    "Basketball BasketballDunk Biking CliffDiving CricketBowling Diving Fencing FloorGymnastics GolfSwing HorseRiding "
    "IceDancing LongJump PoleVault RopeClimbing SalsaSpin SkateBoarding Skiing Skijet SoccerJuggling Surfing "
    "TennisSwing TrampolineJumping VolleyballSpiking WalkingWithDog"
)
"""The 24 classes by label, blank between."""
MAX_FRAMES = 1_000_000
"""Of a clip; UCF101's longest has 1,776."""


def read_boxes(file: Path, digest: str | None = None) -> Boxes:
    """Read the boxes of a file of either layout; no code that it names is run.

    Args:
        file: ``pyannot.pkl`` or ``UCF101v2-GT.pkl``.
        digest: SHA-256 that the file must have; None for any.

    Raises:
        DataError: the file is missing, another one, or holds something else; a tube's frames or boxes are impossible.
            The message names file, clip and tube.
    """
    content = content_of(file)
    found = hashlib.sha256(content).hexdigest()
    if digest not in (None, found):
        raise DataError(f"{file}: changed since it was registered; hint: register the dataset again with --replace")
    try:
        entries = unpickle(content)
        read = _of_classes if isinstance(entries, dict) and "gttubes" in entries else _of_tubes
        return Boxes(*read(file, entries), digest=found)
    except DataError:
        raise
    except Exception as error:  # pickle raises whatever the bytes lead it to
        raise DataError(f"{file}: no boxes of UCF101-24: {type(error).__name__}: {error}") from error


def require_known(file: Path, boxes: Boxes, classes: Collection[str], clips: Collection[str]) -> int:
    """Return how many of a dataset's clips have boxes.

    Raises:
        DataError: a class is not the dataset's, or none of the clips is.
    """
    for name in boxes.classes:
        if name not in classes:
            raise DataError(f"{file}: class {name!r}, which the dataset does not have")
    shared = len(boxes.clips.keys() & set(clips))
    if not shared:
        raise DataError(f"{file}: {counted(len(boxes.clips), 'clip')}, none of which the dataset has")
    return shared


Read = tuple[tuple[str, ...], Mapping[str, BoxedClip]]
"""Classes, and clips by id."""


def _of_tubes(file: Path, entries: Mapping[str, Any]) -> Read:
    """Read ``pyannot.pkl``."""
    classes = tuple(CLASSES.split())
    clips = {}
    for name, entry in entries.items():
        frames = _frames(file, name, entry["numf"])
        tubes = []
        for number, annotation in enumerate(entry["annotations"]):
            wrong = _complaint(file, name, number)
            boxes = _numbers(annotation["boxes"]).astype(np.float64)
            first, end = int(annotation["sf"]), int(annotation["ef"])
            if boxes.shape != (end - first, 4):
                raise wrong(f"boxes {boxes.shape} for frames {first} to {end - 1}")
            tubes.append(_tube(wrong, int(annotation["label"]), first, boxes - [1, 1, 0, 0], len(classes), frames))
        clips[str(name)] = BoxedClip(frames, tuple(tubes))
    return classes, clips


def _of_classes(file: Path, entries: Mapping[str, Any]) -> Read:
    """Read ``UCF101v2-GT.pkl``."""
    classes = tuple(map(str, entries["labels"]))
    clips = {}
    for name, by_class in entries["gttubes"].items():
        frames = _frames(file, name, entries["nframes"][name])
        height, width = map(int, entries["resolution"][name])
        tubes = []
        for number, (label, rows) in enumerate(_listed(by_class)):
            wrong = _complaint(file, name, number)
            found = _numbers(rows).astype(np.float64)
            if found.ndim != 2 or found.shape[1] != 5 or not len(found):
                raise wrong(f"shape {found.shape}, allowed: (frames, 5)")
            numbers, corners = found[:, 0], found[:, 1:]
            if not np.array_equal(numbers, numbers[0] + np.arange(len(numbers))):
                raise wrong("its frames are not in a row")
            boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
            tubes.append(_tube(wrong, label, int(numbers[0]) - 1, boxes, len(classes), frames))
            if (corners[:, 2] > width + 1).any() or (corners[:, 3] > height + 1).any():
                raise wrong(f"a box ends beyond the frame of {width}x{height}")
        clips[str(name)] = BoxedClip(frames, tuple(tubes))
    return classes, clips


def _listed(by_class: Mapping[Any, Any]) -> Iterator[tuple[int, Any]]:
    for label, tubes in by_class.items():
        for rows in tubes:
            yield int(label), rows


def _frames(file: Path, name: str, frames: Any) -> int:
    if not 0 < int(frames) <= MAX_FRAMES:
        raise DataError(f"{file}: {name}: {counted(frames, 'frame')}, allowed: 1 to {MAX_FRAMES}")
    return int(frames)


def _numbers(value: Any) -> Numbers:
    if not isinstance(value, Array) or value.values.dtype.kind not in "iuf":
        raise TypeError(f"got {type(value).__name__}, allowed: an array of numbers")
    return value.values


Complaint = Callable[[str], DataError]


def _complaint(file: Path, name: str, number: int) -> Complaint:
    return lambda why: DataError(f"{file}: {name}: tube {number}: {why}")


def _tube(wrong: Complaint, label: int, first: int, boxes: Coordinates, classes: int, frames: int) -> Tube:
    """Return a tube that can be: cast to floats already, since sums of uint8 overflow."""
    if not 0 <= label < classes:
        raise wrong(f"label {label}, allowed: 0 to {classes - 1}")
    if first < 0 or not len(boxes) or first + len(boxes) > frames:
        raise wrong(f"frames {first} to {first + len(boxes) - 1}, allowed: those of the clip, 0 to {frames - 1}")
    # A pixel beyond the left or upper edge is how files that count from 0 and from 1 differ.
    bad = np.flatnonzero(~(np.isfinite(boxes).all(1) & (boxes[:, :2] >= -1).all(1) & (boxes[:, 2:] > 0).all(1)))
    if len(bad):
        raise wrong(
            f"frame {first + bad[0]} has box {boxes[bad[0]].tolist()}, allowed: inside the frame, sides above 0"
        )
    return Tube(label, first, boxes)
