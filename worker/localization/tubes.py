"""From saliency to one tube (VideoLSTM, sec. 4): boxes of what is salient, followed from frame to frame, smoothed."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

from services.datasets.tubes import Coordinates
from worker.localization.metrics import box_ious


def candidates(salient: NDArray[np.bool_], peak: tuple[int, int]) -> Coordinates:
    """Return the boxes of all 8-connected parts (eq. 16), ``(n, 4)``: left, top, width, height.

    Args:
        salient: ``(H, W)``, where saliency reaches the threshold.
        peak: row and column of the highest saliency, which is salient; the box that holds it comes first.
    """
    _, parts, facts, _ = cv2.connectedComponentsWithStats(salient.astype(np.uint8), connectivity=8)
    first = parts[peak]
    order = [first, *(part for part in range(1, len(facts)) if part != first)]  # 0 is the background
    return facts[order, :4].astype(np.float64)


def follow(frames: Iterable[Coordinates]) -> Coordinates:
    """Choose one box of each of T frames, ``(T, 4)``: that with the highest IoU with the one before (eq. 17).

    In the first frame, and where no box overlaps the one before, it is the frame's first one, which holds the peak:
    the paper leaves that open.
    """
    chosen: list[Coordinates] = []
    for boxes in frames:
        best = 0
        if chosen:
            best = int(box_ious(boxes, np.broadcast_to(chosen[-1], boxes.shape)).argmax())
        chosen.append(boxes[best])
    return np.stack(chosen)


def fill(frames: NDArray[np.int64], boxes: Coordinates, length: int) -> Coordinates:
    """Return boxes of the frames 0 to ``length - 1``, on a line between those that are known, held at both ends.

    Args:
        frames: numbers of the known ones, ``(T,)``, rising.
        boxes: ``(T, 4)``.
        length: of the clip, in frames.
    """
    return np.stack([np.interp(np.arange(length), frames, column) for column in boxes.T], axis=1)


def smooth(boxes: Coordinates, width: int) -> Coordinates:
    """Smooth boxes ``(T, 4)`` over time by a locally weighted line: degree 1, tricube weights.

    Args:
        boxes: of frames in a row.
        width: frames from the first to the last that has a weight; 1 or 2 leave the boxes as they are.
    """
    half = (width + 1) // 2
    smoothed = np.empty_like(boxes)
    for frame in range(len(boxes)):
        first, end = max(0, frame - half + 1), min(len(boxes), frame + half)
        away = np.arange(first, end) - frame
        weights = (1 - (np.abs(away) / half) ** 3) ** 3
        total, lean, spread = weights.sum(), weights @ away, weights @ away**2
        sides = total * spread - lean**2
        line = weights * (spread - lean * away) / sides if sides > 0 else weights / total
        smoothed[frame] = line @ boxes[first:end]
    return smoothed


def centre_box(height: int, width: int, length: int) -> Coordinates:
    """Return the middle of a frame, half as high and wide, in each of ``length`` frames: what knowing nothing gives."""
    return np.tile([width / 4, height / 4, width / 2, height / 2], (length, 1))
