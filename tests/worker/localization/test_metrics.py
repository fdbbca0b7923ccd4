"""Tubes whose overlaps and average precisions are known, and a plain reading of the rules."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.datasets.tubes import Tube
from services.metrics import IOUS
from worker.localization.metrics import Detection, average_precisions, recall, tube_iou, video_map


def tube(first: int, frames: int, box: tuple[float, ...] = (0, 0, 10, 10), label: int = 0) -> Tube:
    return Tube(label, first, np.tile(np.array(box, float), (frames, 1)))


@pytest.mark.parametrize(
    ("one", "other", "iou"),
    [
        (tube(0, 10), tube(0, 10), 1.0),
        (tube(0, 10), tube(5, 10), 5 / 15),
        (tube(0, 10), tube(0, 10, (5, 0, 10, 10)), 50 / 150),
        (tube(0, 10), tube(5, 10, (5, 0, 10, 10)), 5 / 15 * 50 / 150),
        (tube(0, 10), tube(9, 10), 0.0),  # one frame in common
        (tube(0, 10), tube(8, 10), 2 / 18),
        (tube(0, 1), tube(0, 1), 0.0),
        (tube(0, 10), tube(20, 5), 0.0),
        (tube(0, 10), tube(0, 10, (10, 0, 10, 10)), 0.0),  # side by side
    ],
)
def test_the_iou_of_two_tubes(one: Tube, other: Tube, iou: float) -> None:
    assert tube_iou(one, other) == pytest.approx(iou)
    assert tube_iou(other, one) == pytest.approx(iou)


def found(clip: str, score: float, *, hit: bool, label: int = 0) -> Detection:
    return Detection(clip, score, tube(0, 10, (0, 0, 10, 10) if hit else (50, 50, 5, 5), label))


def test_precision_is_the_highest_at_its_recall_or_beyond() -> None:
    truths = {clip: [tube(0, 10)] for clip in "abcd"}
    detections = [found("a", 0.9, hit=True), found("b", 0.8, hit=False), found("c", 0.7, hit=True)]
    # recall 1/4 at precision 1, then 2/4 at 2/3, and no more
    assert average_precisions(detections, truths, [0.5]) == pytest.approx([(1 + 2 / 3) / 4])
    rising = [found("a", 0.9, hit=False), found("b", 0.8, hit=True), found("c", 0.7, hit=True)]
    assert average_precisions(rising, truths, [0.5]) == pytest.approx([(2 / 3 + 2 / 3) / 4])


def test_a_second_detection_of_a_tube_is_wrong_and_another_tube_is_taken() -> None:
    twice = [found("a", 0.9, hit=True), found("a", 0.8, hit=True), found("b", 0.7, hit=True)]
    assert average_precisions(twice, {"a": [tube(0, 10)], "b": [tube(0, 10)]}, [0.5]) == pytest.approx(
        [(1 + 2 / 3) / 2]
    )
    two = {"a": [tube(0, 10), tube(0, 10, (0, 0, 10, 9))]}
    assert average_precisions(twice[:2], two, [0.5]) == pytest.approx([1.0])


def test_an_iou_must_exceed_the_threshold() -> None:
    half = [Detection("a", 1.0, tube(0, 10, (0, 0, 10, 5)))]
    assert average_precisions(half, {"a": [tube(0, 10)]}, [0.49, 0.5]) == [1.0, 0.0]
    assert recall(half, {"a": [tube(0, 10)]}, [0.49, 0.5]) == {0.49: 1.0, 0.5: 0.0}


def test_a_class_without_a_true_tube_counts_as_nought() -> None:
    detections = [found("a", 0.9, hit=True), found("a", 0.9, hit=True, label=1)]
    assert video_map(detections, {"a": [tube(0, 10)]}, [0, 1], [0.5]) == {0.5: 0.5}
    assert video_map([], {"a": [tube(0, 10)]}, [0], [0.5]) == {0.5: 0.0}


def test_labels_do_not_count_for_recall_but_clips_do() -> None:
    truths = {"a": [tube(0, 10, label=3), tube(0, 10, (50, 50, 10, 10))], "b": [tube(0, 10)]}
    assert recall([found("a", 0.1, hit=True)], truths, [0.5]) == {0.5: 1 / 3}
    assert recall([found("a", 0.1, hit=True)], {}, [0.5]) == {0.5: 0.0}


boxes = st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(1, 6), st.integers(1, 6))
tubes = st.builds(
    lambda label, first, rows: Tube(label, first, np.array(rows, float)),
    st.integers(0, 1),
    st.integers(0, 4),
    st.lists(boxes, min_size=1, max_size=5),
)
clips = st.sampled_from("abc")
detected = st.builds(Detection, clips, st.integers(0, 4).map(float), tubes)


def plain_iou(one: Tube, other: Tube) -> float:
    """Count pixels, frame by frame."""
    frames = []
    for frame in range(12):
        sets = []
        for entry in (one, other):
            row = frame - entry.first
            left, top, width, height = entry.boxes[row] if 0 <= row < len(entry.boxes) else (0, 0, 0, 0)
            sets.append(
                {(x, y) for x in range(int(left), int(left + width)) for y in range(int(top), int(top + height))}
            )
        frames.append(sets)
    if sum(1 for sets in frames if all(sets)) < 2:
        return 0.0
    ious = [len(a & b) / len(a | b) for a, b in frames if a or b]
    # frames between two tubes that do not touch in time count as well, but then the tubes have none in common
    return sum(ious) / len(ious)


def plain_precision(detections: list[Detection], truths: dict[str, list[Tube]], iou: float) -> float:
    """The area under the curve, point by point, as VOC's code since 2010 has it."""
    left = {clip: list(of_clip) for clip, of_clip in truths.items()}
    total, right = sum(map(len, truths.values())), 0
    if not total:
        return 0.0
    recalls, precisions = [0.0], [0.0]
    for rank, detection in enumerate(sorted(detections, key=lambda entry: entry.score, reverse=True), 1):
        of_clip = left.get(detection.clip, [])
        values = [plain_iou(detection.tube, truth) for truth in of_clip]
        if values and max(values) > iou:
            of_clip.pop(values.index(max(values)))
            right += 1
        recalls.append(right / total)
        precisions.append(right / rank)
    recalls, precisions = [*recalls, 1.0], [*precisions, 0.0]
    for place in range(len(precisions) - 2, -1, -1):
        precisions[place] = max(precisions[place], precisions[place + 1])
    steps = range(1, len(recalls))
    return sum((recalls[place] - recalls[place - 1]) * precisions[place] for place in steps)


@given(tubes, tubes)
@settings(deadline=None)
def test_ious_are_those_of_counted_pixels(one: Tube, other: Tube) -> None:
    assert tube_iou(one, other) == pytest.approx(plain_iou(one, other))


@given(st.lists(detected, max_size=8), st.dictionaries(clips, st.lists(tubes, max_size=3), max_size=3))
@settings(deadline=None)
def test_map_is_that_of_the_plain_rules(detections: list[Detection], truths: dict[str, list[Tube]]) -> None:
    expected = {}
    for iou in IOUS:
        parts = []
        for label in (0, 1):
            own = [entry for entry in detections if entry.tube.label == label]
            true = {clip: [entry for entry in of_clip if entry.label == label] for clip, of_clip in truths.items()}
            parts.append(plain_precision(own, true, iou))
        expected[iou] = sum(parts) / 2
    assert video_map(detections, truths, [0, 1]) == pytest.approx(expected)
    best = [
        max((plain_iou(entry.tube, truth) for entry in detections if entry.clip == clip), default=0.0)
        for clip, of_clip in truths.items()
        for truth in of_clip
    ]
    shares = {iou: sum(value > iou for value in best) / len(best) if best else 0.0 for iou in IOUS}
    assert recall(detections, truths) == pytest.approx(shares)
