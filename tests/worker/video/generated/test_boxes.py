"""True boxes of `motion_shapes`: what changes from frame to frame, and from the background, lies inside."""

from __future__ import annotations

import numpy as np
import pytest

from services.datasets.motion_shapes import MotionShapesParams
from worker.video.generated.boxes import motion_shapes_boxes
from worker.video.generated.motion_shapes import CLASSES, clip_path, pair_frames
from worker.video.generated.shapes import background

PARAMS = MotionShapesParams(clips_per_group=1)


def name_of(label: int, group: int) -> str:
    return clip_path(CLASSES[label], group, 1).removesuffix(".avi")


@pytest.mark.parametrize("group", [1, 2, 8])
@pytest.mark.parametrize("first", range(0, 8, 2))
def test_the_box_holds_what_is_not_background(first: int, group: int) -> None:
    boxes = motion_shapes_boxes(PARAMS, [name_of(label, group) for label in range(8)])
    assert boxes.classes == CLASSES
    scene = background(PARAMS.size, np.random.default_rng([PARAMS.seed, group]))
    for label, frames in enumerate(pair_frames(CLASSES[first], PARAMS, scene, group, 1), first):
        clip = boxes.clips[name_of(label, group)]
        (tube,) = clip.tubes
        assert (clip.frames, tube.label, tube.first, len(tube.boxes)) == (len(frames), label, 0, len(frames))
        for frame, (left, top, width, height) in zip(frames, tube.boxes.astype(int), strict=True):
            differs = np.abs(frame.astype(float) - scene).max(axis=2) > 20
            inside = differs[top : top + height, left : left + width]
            assert inside.mean() > 0.5
            assert inside[0].any()
            assert inside[:, -1].any()
            if left > 0 and top > 0 and left + width < PARAMS.size and top + height < PARAMS.size:
                assert inside.sum() / differs.sum() > 0.97  # the shape does not leave the frame


def test_only_the_clips_that_are_asked_for() -> None:
    assert set(motion_shapes_boxes(PARAMS, [name_of(3, 5), "Other/x"]).clips) == {name_of(3, 5)}
