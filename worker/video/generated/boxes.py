"""Where the shape of `motion_shapes` is: true boxes, from the generator itself, in the form of UCF101-24's."""

from __future__ import annotations

from collections.abc import Collection

import cv2
import numpy as np

from services.datasets.motion_shapes import CLASSES, GROUPS, MotionShapesParams, clip_path
from services.datasets.tubes import BoxedClip, Boxes, Coordinates, Tube
from worker.video.generated.motion_shapes import pair_coverage
from worker.video.generated.shapes import Field

COVERED = 0.5
"""Share of a pixel that belongs to the shape."""


def motion_shapes_boxes(params: MotionShapesParams, clips: Collection[str]) -> Boxes:
    """Return the boxes of some clips, by id: one tube, from the first frame to the last.

    Where the shape leaves on one side and enters on the other, the box is that of its largest part.
    """
    found = {}
    for first in range(0, len(CLASSES), 2):
        for group in GROUPS:
            for number in range(1, params.clips_per_group + 1):
                ids = [clip_path(CLASSES[label], group, number).removesuffix(".avi") for label in (first, first + 1)]
                if not set(ids) & set(clips):
                    continue
                pair = pair_coverage(CLASSES[first], params, group, number)
                for label, name, covered in zip((first, first + 1), ids, pair, strict=True):
                    found[name] = BoxedClip(len(covered), (Tube(label, 0, _boxes(covered)),))
    return Boxes(CLASSES, {name: clip for name, clip in found.items() if name in clips}, params.digest)


def _boxes(covered: Field) -> Coordinates:
    """Return the box of the largest part of each frame, ``(T, 4)``."""
    boxes = []
    for mask in covered >= COVERED:
        _, _, parts, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
        boxes.append(parts[1 + parts[1:, cv2.CC_STAT_AREA].argmax()][:4])  # the first part is the background
    return np.array(boxes, np.float64)
