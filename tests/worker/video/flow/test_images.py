import cv2
import numpy as np
import pytest
import torch

from worker.video.flow import images


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, (31, 46)).astype(np.float32)


def test_resizing_is_opencvs(picture: np.ndarray) -> None:
    smaller = cv2.resize(picture, None, fx=0.8, fy=0.8, interpolation=cv2.INTER_LINEAR)
    ours = images.resize(torch.from_numpy(picture)[None], smaller.shape, 1.25)
    np.testing.assert_allclose(ours[0].numpy(), smaller, atol=1e-3)
    larger = cv2.resize(picture, (61, 40), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(images.resize(torch.from_numpy(picture), (40, 61)).numpy(), larger, atol=1e-3)


def test_warping_is_opencvs_in_and_outside_the_picture(picture: np.ndarray) -> None:
    flow = np.random.default_rng(1).uniform(-9, 9, (2, *picture.shape)).astype(np.float32)
    flow[:, 3, 4], flow[:, 5, 6] = 1e6, -1e6
    down, across = np.mgrid[0 : picture.shape[0], 0 : picture.shape[1]].astype(np.float32)
    theirs = cv2.remap(picture, across + flow[0], down + flow[1], cv2.INTER_CUBIC)
    ours = images.warp(torch.from_numpy(picture)[None, None], torch.from_numpy(flow)[None])[0, 0].numpy()
    np.testing.assert_allclose(ours, theirs, atol=2e-3)


def test_the_median_is_opencvs(picture: np.ndarray) -> None:
    ours = images.median5(torch.from_numpy(picture)[None])[0].numpy()
    np.testing.assert_array_equal(ours, cv2.medianBlur(picture, 5))


def test_divergence_is_the_negative_adjoint_of_the_gradient() -> None:
    rng = torch.Generator().manual_seed(0)
    field, x, y = torch.rand(3, 7, 9, generator=rng, dtype=torch.float64)
    x[:, -1], y[-1] = 0.0, 0.0
    dx, dy = images.forward_gradient(field)
    assert (dx * x + dy * y).sum() == pytest.approx(-(field * images.divergence(x, y)).sum())
