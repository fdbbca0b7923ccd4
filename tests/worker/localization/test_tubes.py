"""Boxes of what is salient, followed and smoothed over time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from worker.localization.saliency import SPREAD, saliency
from worker.localization.tubes import candidates, centre_box, fill, follow, smooth


def test_parts_that_touch_at_a_corner_are_one_and_the_peak_comes_first() -> None:
    salient = np.zeros((6, 8), bool)
    salient[0, 0] = salient[1, 1] = True
    salient[3:5, 5:8] = True
    assert candidates(salient, (4, 6)).tolist() == [[5, 3, 3, 2], [0, 0, 2, 2]]
    assert candidates(salient, (0, 0)).tolist() == [[0, 0, 2, 2], [5, 3, 3, 2]]


def test_the_box_that_overlaps_the_one_before_is_taken() -> None:
    left, right, other = [0, 0, 4, 4], [20, 0, 4, 4], [1, 1, 4, 4]
    frames = [np.array(boxes, float) for boxes in ([left, right], [right, other], [right, [40, 0, 4, 4]])]
    assert follow(frames).tolist() == [left, other, right]  # nothing overlaps in the last frame: its first box


def test_frames_between_those_that_are_known_lie_on_a_line() -> None:
    boxes = np.array([[0, 0, 10, 10], [4, 8, 10, 20]], float)
    filled = fill(np.array([1, 5]), boxes, 7)
    assert filled[:, 0].tolist() == [0, 0, 1, 2, 3, 4, 4]
    assert filled[:, 3].tolist() == [10, 10, 12.5, 15, 17.5, 20, 20]


@given(st.integers(1, 40), st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_a_line_stays_a_line(length: int, width: int, seed: int) -> None:
    start, step = np.random.default_rng(seed).normal(size=(2, 4))
    line = start + step * np.arange(length)[:, None]
    np.testing.assert_allclose(smooth(line, width), line, atol=1e-6)


def test_a_sudden_deviation_is_smoothed_away_and_the_rest_is_left() -> None:
    boxes = np.tile(np.array([10.0, 10, 20, 20]), (31, 1))
    boxes[15] += 50
    smoothed = smooth(boxes, 11)
    assert smoothed[15, 0] < 25
    np.testing.assert_allclose(smoothed[:10], boxes[:10])
    for width in (1, 2):
        np.testing.assert_array_equal(smooth(boxes, width), boxes)


def test_smoothing_is_a_weighted_line_at_each_frame() -> None:
    values = np.random.default_rng(0).normal(size=(9, 4))
    for frame in range(9):
        away = np.arange(9) - frame
        weights = np.where(np.abs(away) < 3, (1 - (np.abs(away) / 3) ** 3) ** 3, 0)
        rows = np.stack([np.ones(9), away], 1) * np.sqrt(weights)[:, None]
        plain = np.linalg.lstsq(rows, values * np.sqrt(weights)[:, None], rcond=None)[0][0]
        np.testing.assert_allclose(smooth(values, 5)[frame], plain)


def test_saliency_is_the_scaled_and_blurred_map() -> None:
    maps = torch.rand(3, 4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = saliency(maps, 40, 90)
    grown = functional.interpolate(maps[:, None], (40, 90), mode="bilinear", align_corners=False)[:, 0]
    across, down = (torch.arange(size, dtype=torch.float64) for size in (90, 40))

    def blur(at: torch.Tensor, cell: float) -> torch.Tensor:
        weights = torch.exp(-0.5 * ((at[:, None] - at) / cell / SPREAD) ** 2)
        return weights / weights.sum(1, keepdim=True)

    blurred = blur(down, 40 / 4) @ grown @ blur(across, 90 / 6).T
    low, high = blurred.amin((1, 2), keepdim=True), blurred.amax((1, 2), keepdim=True)
    torch.testing.assert_close(found, 255 * (blurred - low) / (high - low))


def test_the_peak_of_a_map_is_that_of_its_saliency() -> None:
    maps = torch.full((1, 7, 7), 1e-3)
    maps[0, 2, 5] = 1
    (peak,) = saliency(maps, 240, 320).flatten(1).argmax(1).tolist()
    row, column = divmod(peak, 320)
    assert row == pytest.approx(2.5 * 240 / 7, abs=4)
    assert column == pytest.approx(5.5 * 320 / 7, abs=4)


def test_a_flat_map_is_salient_everywhere() -> None:
    assert (saliency(torch.full((2, 7, 7), 1 / 49), 31, 57) == 255).all()


def test_the_middle_of_a_frame() -> None:
    assert centre_box(40, 80, 2).tolist() == [[20, 10, 40, 20]] * 2
