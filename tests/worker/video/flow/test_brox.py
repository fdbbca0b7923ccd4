import numpy as np
import pytest
import torch

from benchmarks.flow_motions import end_point_error, motions
from worker.video.flow.brox import Brox

# Pixels, mean over the picture less a margin; measured 0.06, 0.08, 0.06 and 0.16 on 120 x 160.
BOUNDS = {"translation": 0.1, "rotation": 0.12, "scaling": 0.1, "two layers": 0.3}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def flow(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return Brox()(torch.from_numpy(first), torch.from_numpy(second)).numpy()


@pytest.mark.parametrize("name", list(BOUNDS))
def test_motion_is_found(name: str) -> None:
    motion = motions((96, 112))[name]
    assert end_point_error(flow(motion.first[None], motion.second[None])[0], motion.flow) < BOUNDS[name]


def test_brightness_may_change() -> None:
    motion = motions((96, 112))["translation"]
    brighter = np.clip(motion.second * 0.9 + 20, 0, 255).astype(np.uint8)
    assert end_point_error(flow(motion.first[None], brighter[None])[0], motion.flow) < 0.5


def test_a_pair_does_not_depend_on_its_batch() -> None:
    pairs = list(motions((40, 48)).values())
    first, second = (np.stack([pair[side] for pair in pairs]) for side in (0, 1))
    together = flow(first, second)
    np.testing.assert_allclose(flow(first[2:3], second[2:3])[0], together[2], atol=1e-4)


def test_equal_frames_do_not_move() -> None:
    frame = motions((40, 48))["scaling"].first[None]
    assert np.abs(flow(frame, frame)).max() < 1e-3
