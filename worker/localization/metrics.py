"""How well tubes cover the true ones: IoU, recall (VideoLSTM, Fig. 4a) and video mAP, as UCF101-24's code counts it.

The code is that of the corrected annotations (github.com/gurkirt/corrected-UCF101-Annots, `evaluation`). Everything
here is free of torch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.datasets.tubes import Coordinates, Tube
from services.metrics import IOUS

Truths = Mapping[str, Sequence[Tube]]
"""True tubes by clip."""


@dataclass(frozen=True)
class Detection:
    """A tube that a system found in a clip, as one of its label's class; a higher score is surer."""

    clip: str
    score: float
    tube: Tube


def box_ious(boxes: Coordinates, others: Coordinates) -> Coordinates:
    """Return the intersection over union ``(n,)`` of pairs of boxes ``(n, 4)``: left, top, width, height above 0."""
    first = np.maximum(boxes[:, :2], others[:, :2])
    last = np.minimum(boxes[:, :2] + boxes[:, 2:], others[:, :2] + others[:, 2:])
    both = np.prod(np.maximum(last - first, 0.0), axis=1)
    ious: Coordinates = both / (np.prod(boxes[:, 2:], axis=1) + np.prod(others[:, 2:], axis=1) - both)
    return ious


def tube_iou(tube: Tube, other: Tube) -> float:
    """Return the IoU of two tubes: temporal IoU x mean IoU of boxes over the frames that both have.

    That is the mean over the frames of either, 0 where one of them is missing. Tubes that have one frame in common or
    none have an IoU of 0, as in the code.
    """
    first, end = max(tube.first, other.first), min(tube.end, other.end)
    if end - first < 2:
        return 0.0
    union = max(tube.end, other.end) - min(tube.first, other.first)
    own = tube.boxes[first - tube.first : end - tube.first]
    return float(box_ious(own, other.boxes[first - other.first : end - other.first]).sum() / union)


def recall(detections: Iterable[Detection], truths: Truths, ious: Sequence[float] = IOUS) -> dict[float, float]:
    """Return, by threshold, the share of true tubes with which a detection of their clip has a higher IoU.

    Labels do not count: this says what the boxes are worth, whatever they are called (VideoLSTM, Fig. 4a). Without a
    true tube it is 0.
    """
    found: dict[str, list[Tube]] = defaultdict(list)
    for detection in detections:
        found[detection.clip].append(detection.tube)
    best = np.array(
        [
            max((tube_iou(tube, truth) for tube in found[clip]), default=0.0)
            for clip, tubes in truths.items()
            for truth in tubes
        ]
    )
    return {iou: float((best > iou).mean()) if len(best) else 0.0 for iou in ious}


def video_map(
    detections: Iterable[Detection], truths: Truths, labels: Iterable[int], ious: Sequence[float] = IOUS
) -> dict[float, float]:
    """Return, by threshold, the mean over classes of the average precision of detections.

    Args:
        detections: of clips that `truths` names; others are false positives.
        truths: all true tubes.
        labels: of the classes whose mean is taken; one without a true tube counts as 0.
        ious: thresholds that an IoU must exceed.
    """
    by_label: dict[int, list[Detection]] = defaultdict(list)
    for detection in detections:
        by_label[detection.tube.label].append(detection)
    precisions = [average_precisions(by_label[label], of_label(truths, label), ious) for label in labels]
    return {iou: float(np.mean([found[index] for found in precisions])) for index, iou in enumerate(ious)}


def of_label(truths: Truths, label: int) -> Truths:
    """Return the true tubes of one class."""
    return {clip: [tube for tube in tubes if tube.label == label] for clip, tubes in truths.items()}


def average_precisions(detections: Sequence[Detection], truths: Truths, ious: Sequence[float]) -> list[float]:
    """Return the average precision of one class' detections at each threshold; 0 where there is no true tube."""
    total = sum(map(len, truths.values()))
    if not total:
        return [0.0 for _ in ious]
    ranked = sorted(detections, key=lambda detection: -detection.score)
    overlaps = [
        np.array([tube_iou(detection.tube, truth) for truth in truths.get(detection.clip, ())]) for detection in ranked
    ]
    clips = [detection.clip for detection in ranked]
    return [_area(np.fromiter(_hits(clips, overlaps, iou), bool, len(clips)), total) for iou in ious]


def _hits(clips: Sequence[str], overlaps: Sequence[Coordinates], least: float) -> Iterator[bool]:
    """Say of each detection whether it is right: it covers the best true tube that none before it has covered."""
    covered: dict[str, set[int]] = defaultdict(set)
    for clip, values in zip(clips, overlaps, strict=True):
        left = [index for index in range(len(values)) if index not in covered[clip]]
        best = max(left, key=values.__getitem__, default=None)
        right = best is not None and bool(values[best] > least)
        if best is not None and right:
            covered[clip].add(best)
        yield right


def _area(hits: NDArray[np.bool_], total: int) -> float:
    """Return the area under precision over recall, each precision being the highest at its recall or beyond."""
    right = np.cumsum(hits)
    precision = right / np.arange(1, len(hits) + 1)
    highest = np.maximum.accumulate(precision[::-1])[::-1]
    return float(highest[hits].sum() / total)
