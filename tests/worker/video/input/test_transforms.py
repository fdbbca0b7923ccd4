import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from models.backbones import InputFormat
from worker.video.input import transforms
from worker.video.input.transforms import TestTransform, TrainTransform

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def frames(num_frames: int = 2, channels: int = 3, height: int = 24, width: int = 32) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (num_frames, channels, height, width), dtype=torch.uint8, generator=generator)


@given(height=st.integers(1, 300), width=st.integers(1, 300), min_area=st.floats(0.01, 1), seed=st.integers(0, 2**31))
def test_random_boxes_lie_inside_the_frame(height: int, width: int, min_area: float, seed: int) -> None:
    box = transforms.random_area_box(height, width, min_area, np.random.default_rng(seed))
    assert box.top >= 0
    assert box.left >= 0
    assert 0 < box.height <= height - box.top
    assert 0 < box.width <= width - box.left


def test_random_boxes_have_the_areas_and_aspects_of_001() -> None:
    rng = np.random.default_rng(0)
    boxes = [transforms.random_area_box(240, 320, 0.08, rng) for _ in range(500)]
    areas = np.array([box.height * box.width for box in boxes]) / (240 * 320)
    aspects = np.array([box.width / box.height for box in boxes])
    assert areas.min() >= 0.07
    assert areas.max() > 0.8
    assert aspects.min() > 0.73
    assert aspects.max() < 1.37


def test_center_box_is_centred_and_must_fit() -> None:
    assert transforms.center_box(10, 20, 8) == (1, 6, 8, 8)
    with pytest.raises(ValueError, match="size: got 11, allowed: 1 to 10"):
        transforms.center_box(10, 20, 11)


def test_flip_mirrors_and_turns_the_x_channels_only() -> None:
    stack = frames(channels=4)
    mirrored = transforms.flip(stack, invert_x=True)
    torch.testing.assert_close(mirrored[:, 1::2], stack.flip(-1)[:, 1::2])
    torch.testing.assert_close(mirrored[:, 0::2], 255 - stack.flip(-1)[:, 0::2])
    torch.testing.assert_close(transforms.flip(mirrored, invert_x=True), stack)
    torch.testing.assert_close(transforms.flip(stack, invert_x=False), stack.flip(-1))


@pytest.mark.parametrize(
    ("height", "width", "expected"), [(240, 320, (256, 341)), (320, 240, (341, 256)), (9, 9, (256, 256))]
)
def test_short_side(height: int, width: int, expected: tuple[int, int]) -> None:
    clip = torch.zeros(1, 1, height, width, dtype=torch.uint8)
    assert transforms.resize_short_side(clip, 256).shape[-2:] == expected


def interpolated(clip: Tensor, height: int, width: int) -> Tensor:
    return functional.interpolate(clip.float(), (height, width), mode="bilinear", antialias=True)


def test_test_transform_is_within_a_level_of_floats() -> None:
    clip = frames(2, 3, 60, 90)
    transform = TestTransform(InputFormat(28, 3, MEAN, STD))
    out = transform.finish(transform(clip))
    exact = interpolated(clip, 32, 48)[..., 2:30, 10:38] / 255
    levels = (out - transforms.normalize(exact, MEAN, STD)) * torch.tensor(STD).view(3, 1, 1) * 255
    assert levels.abs().max() <= 1.01


@pytest.mark.parametrize("flow", [False, True])
@pytest.mark.parametrize("mirrored", [False, True])
def test_train_transform_is_within_a_level_of_floats(flow: bool, mirrored: bool) -> None:
    clip = frames(2, 4 if flow else 3, 60, 90)
    levels = InputFormat(28, clip.shape[1], (0.0,), (1 / 255,))
    transform = TrainTransform(
        levels, flow=flow, min_area=0.3, flip=float(mirrored), invert_flow_on_flip=True, jitter=0.0
    )
    box = transforms.random_area_box(60, 90, 0.3, np.random.default_rng(5))
    part = transforms.crop(clip, box)
    exact = interpolated(transforms.flip(part, invert_x=flow) if mirrored else part, 28, 28)
    found = transform(clip, np.random.default_rng(5))
    assert found.dtype == torch.uint8
    assert found.is_contiguous()
    assert (transform.finish(found) - exact).abs().max() <= 1.01


def test_a_jitter_is_seeded_and_has_each_change_once_within_its_bounds() -> None:
    drawn = torch.stack([transforms.draw_jitter(0.4, np.random.default_rng(seed)) for seed in range(50)])
    assert drawn.shape == (50, 3, 2)
    assert all(sorted(order) == [0, 1, 2] for order in drawn[..., 0].tolist())
    assert {tuple(order) for order in drawn[..., 0].tolist()} == set(itertools.permutations([0, 1, 2]))
    assert 0.6 <= drawn[..., 1].min() < 0.65
    assert 1.35 < drawn[..., 1].max() <= 1.4
    torch.testing.assert_close(drawn[7], transforms.draw_jitter(0.4, np.random.default_rng(7)))


def test_color_jitter_changes_each_clip_in_its_own_way_and_all_its_frames_alike() -> None:
    red, grey = torch.tensor([0.8, 0.2, 0.2]), torch.tensor([0.4, 0.4, 0.4])
    clip = torch.stack([red, grey], dim=-1).view(1, 3, 1, 2).expand(2, 3, 1, 2)  # two frames of two pixels
    luma = 0.2 + 0.6 * 0.299
    kinds = (transforms.BRIGHTNESS, 1.5), (transforms.CONTRAST, 0.5), (transforms.SATURATION, 0.0)
    changes = torch.tensor([[change, (transforms.BRIGHTNESS, 1.0), (transforms.CONTRAST, 1.0)] for change in kinds])
    found = transforms.color_jitter_(torch.stack([clip] * 3), changes)
    torch.testing.assert_close(found[:, 0], found[:, 1])
    brighter, duller, colourless = found[:, 0, :, 0]
    torch.testing.assert_close(brighter[:, 0], torch.tensor([1.0, 0.3, 0.3]))  # clamped
    torch.testing.assert_close(duller[:, 0], (red + (luma + 0.4) / 2) / 2)
    torch.testing.assert_close(colourless, torch.tensor([[luma, 0.4]] * 3))


def test_finishing_jitters_and_normalises_a_batch_into_given_memory() -> None:
    transform = train_transform(flow=False)
    pixels = torch.stack([frames(2, 3, 16, 16), 255 - frames(2, 3, 16, 16)])
    colours = torch.stack([transform.colours(np.random.default_rng(seed)) for seed in range(2)])
    memory = torch.full(pixels.shape, torch.nan)
    found = transform.finish(pixels, colours, memory)
    assert found is memory
    torch.testing.assert_close(found, transforms.color_jitter_(pixels / 255, colours))
    torch.testing.assert_close(transform.finish(pixels, colours), found)
    torch.testing.assert_close(transform.finish(pixels), pixels / 255)
    assert train_transform(flow=True).colours(np.random.default_rng(0)).numel() == 0


def test_normalize_takes_one_value_one_for_x_and_y_or_one_per_channel() -> None:
    values = torch.ones(1, 4, 1, 1)
    assert transforms.normalize(values, (0.5,), (0.25,)).flatten().tolist() == [2, 2, 2, 2]
    assert transforms.normalize(values, (0.5, 0.0), (0.5, 1.0)).flatten().tolist() == [1, 1, 1, 1]
    with pytest.raises(ValueError, match="mean: got 3 values, allowed: a divisor of 4 channels"):
        transforms.normalize(values, MEAN, STD)


@pytest.mark.parametrize("size", [(240, 320), (64, 64), (20, 90)])
@pytest.mark.parametrize("side", [64, 224])
def test_test_transform_gives_the_side_whatever_the_clip(size: tuple[int, int], side: int) -> None:
    out = TestTransform(InputFormat(side, 3, MEAN, STD))(frames(1, 3, *size))
    assert out.shape == (1, 3, side, side)
    assert out.dtype == torch.uint8
    assert out.is_contiguous()


def test_test_transform_leaves_frames_of_the_side_whole() -> None:
    clip = frames(2, 3, 64, 64)
    out = TestTransform(InputFormat(64, 3, (0.0,), (1.0,)))(clip)
    torch.testing.assert_close(out, clip)


def test_train_transform_is_seeded_and_shared_by_the_frames_of_a_call() -> None:
    transform = train_transform(flow=False)
    clip = frames(1).repeat(3, 1, 1, 1)
    out = transform(clip, np.random.default_rng(3))
    assert out.shape == (3, 3, 16, 16)
    torch.testing.assert_close(out[0], out[2])
    torch.testing.assert_close(out, transform(clip, np.random.default_rng(3)))
    assert not torch.equal(out, transform(clip, np.random.default_rng(4)))


def test_train_transform_of_flow_turns_x_when_it_mirrors() -> None:
    stack = torch.full((1, 4, 16, 16), 128, dtype=torch.uint8)
    stack[:, 0::2] = 200  # to the right
    for invert, expected in ((True, 55), (False, 200)):
        out = train_transform(flow=True, flip=1.0, invert=invert)(stack, np.random.default_rng(0))
        torch.testing.assert_close(out[:, 0::2], torch.full((1, 2, 16, 16), expected, dtype=torch.uint8))
        torch.testing.assert_close(out[:, 1::2], torch.full((1, 2, 16, 16), 128, dtype=torch.uint8))


def train_transform(*, flow: bool, flip: float = 0.5, invert: bool = True) -> TrainTransform:
    plain = InputFormat(16, 4 if flow else 3, (0.0,), (1.0,))
    return TrainTransform(plain, flow=flow, min_area=0.08, flip=flip, invert_flow_on_flip=invert, jitter=0.4)
