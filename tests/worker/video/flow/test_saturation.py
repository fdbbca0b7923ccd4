"""How much of the motion lies beyond the bound."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from services.params import FlowMethodParams
from worker.video.flow.quantization import quantize
from worker.video.flow.saturation import SAMPLED_FIELDS, Saturation, sampled, saturated
from worker.video.input.on_the_fly import OnTheFlyFlow
from worker.video.survey.manifest import Clip

PARAMS = FlowMethodParams(algorithm="tvl1", bound=20.0)


def test_a_pixel_is_saturated_in_x_or_in_y() -> None:
    motion = np.zeros((1, 2, 10, 10), np.float32)
    motion[0, 0, :2] = 40.0  # 20 of 100 pixels, in x
    motion[0, 1, 1:3] = -25.0  # 20 of 100 in y, of which 10 in x too
    motion[0, 0, 9] = 19.5
    assert saturated(quantize(motion, 20.0)) == pytest.approx(0.3)


def test_a_pan_over_a_large_frame_is_all_saturated() -> None:
    """A shift of 1/32 of the width is 10 pixels of 320, and 40 of 1280."""
    for width, share in ((320, 0.0), (1280, 1.0)):
        motion = np.zeros((3, 2, 9, 16), np.float32)
        motion[:, 0] = width / 32
        assert saturated(quantize(motion, 20.0)) == share


@pytest.mark.parametrize(("fields", "expected"), [(1, [0]), (2, [0, 1]), (16, list(range(16)))])
def test_short_clips_are_looked_at_whole(fields: int, expected: list[int]) -> None:
    assert sampled(fields).tolist() == expected


def test_long_clips_are_looked_at_from_end_to_end() -> None:
    numbers = sampled(1775)
    assert (len(numbers), numbers[0], numbers[-1]) == (SAMPLED_FIELDS, 0, 1774)


def test_clips_count_by_their_fields() -> None:
    found = Saturation(PARAMS)
    assert (found.share, found.warning) == (None, "")
    found.add(0.0, 90)
    found.add(0.5, 10)
    assert (found.share, found.warning) == (0.05, "")
    found.add(1.0, 1)
    assert found.warning.startswith("flow.bound: 6% of the pixels move by 20 pixels or more in a frame")


def test_flow_on_the_fly_says_it_once(root: Path, clips: tuple[Clip, Clip]) -> None:
    torch.set_num_threads(1)
    heard: list[str] = []
    small = PARAMS.model_copy(update={"bound": 0.5})  # bars move by two pixels
    for params in (PARAMS, small):
        source = OnTheFlyFlow(root, params, 2, torch.device("cpu"), warn=heard.append, enough_fields=4)
        for frame in (2, 5, 8):
            source.read(clips[0], [frame])
    assert len(heard) == 1
    assert "move by 0.5 pixels or more" in heard[0]


def test_flow_on_the_fly_is_of_frames_of_the_size_that_is_asked_for(root: Path, clips: tuple[Clip, Clip]) -> None:
    torch.set_num_threads(1)
    source = OnTheFlyFlow(root, PARAMS.model_copy(update={"resize": 16}), 2, torch.device("cpu"))
    assert source.read(clips[0], [3]).shape == (1, 4, 16, 24)
