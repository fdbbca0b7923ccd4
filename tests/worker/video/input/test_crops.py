import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from worker.video.input import crops


def frames(num_frames: int = 2, channels: int = 3, height: int = 60, width: int = 80) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (num_frames, channels, height, width), dtype=torch.uint8, generator=generator)


@given(height=st.integers(32, 400), width=st.integers(32, 400), seed=st.integers(0, 2**31))
def test_multi_scale_boxes_lie_inside_the_frame(height: int, width: int, seed: int) -> None:
    for scales in (crops.RGB_SCALES, crops.FLOW_SCALES):
        box = crops.multi_scale_box(height, width, scales, np.random.default_rng(seed))
        assert 0 <= box.top <= height - box.height
        assert 0 <= box.left <= width - box.width


def test_multi_scale_boxes_are_those_of_tsn() -> None:
    rng = np.random.default_rng(0)
    rgb = {crops.multi_scale_box(256, 340, crops.RGB_SCALES, rng) for _ in range(3000)}
    flow = {crops.multi_scale_box(256, 340, crops.FLOW_SCALES, rng) for _ in range(3000)}
    sides = (256, 224, 192, 168)
    pairs = {(a, b) for i, a in enumerate(sides) for j, b in enumerate(sides) if abs(i - j) <= 1}
    assert {(box.height, box.width) for box in rgb} == pairs
    assert {side for box in flow for side in (box.height, box.width)} == {256, 224, 192}
    places = {(box.top, box.left) for box in rgb if (box.height, box.width) == (224, 224)}
    assert places == set(crops.fixed_positions(32, 116))
    assert len(places) == 13


def test_sizes_of_the_papers() -> None:
    clip = frames()
    assert crops.resize_tsn(clip).shape == (2, 3, 256, 340)
    assert crops.stretch(clip).shape == (2, 3, 224, 224)


def test_five_and_ten_crops() -> None:
    clip = frames(1, 4, 8, 11)
    five = crops.five_crops(clip, 6)
    assert five.shape == (1, 5, 4, 6, 6)
    torch.testing.assert_close(five[:, 0], clip[..., :6, :6])
    torch.testing.assert_close(five[:, 3], clip[..., 2:, 5:])
    torch.testing.assert_close(five[:, 4], clip[..., 1:7, 2:8])
    ten = crops.ten_crops(clip, 6, invert_x=True)
    assert ten.shape == (1, 10, 4, 6, 6)
    torch.testing.assert_close(ten[:, :5], five)
    torch.testing.assert_close(ten[:, 5, 1], five[:, 0, 1].flip(-1))
    torch.testing.assert_close(ten[:, 5, 0], 255 - five[:, 0, 0].flip(-1))
    with pytest.raises(ValueError, match="size: got 9, allowed: 1 to 8"):
        crops.five_crops(clip, 9)
