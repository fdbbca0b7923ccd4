import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from benchmarks.flow_motions import end_point_error, motions
from tests.worker.video.made_clips import decode_frames
from worker.video.flow import estimator, quantize
from worker.video.flow.tvl1 import TVL1
from worker.video.generated.shapes import background, draw_look, render, still

CLIPS = Path(__file__).parents[4].parent / "shared/data/clips/UCF-101"
GENUINE = ("YoYo/v_YoYo_g03_c02.avi", "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def batched(first: np.ndarray, second: np.ndarray, **changes: float) -> np.ndarray:
    return TVL1(**changes)(torch.from_numpy(first), torch.from_numpy(second)).numpy()


def assert_agrees(frames: np.ndarray) -> None:
    """The bounds of issue 3: mean end-point difference <= 0.1 px, >= 95 % of pixels within one level."""
    ours = batched(frames[:-1], frames[1:])
    for first, second, field in zip(frames[:-1], frames[1:], ours, strict=True):
        theirs = estimator("tvl1")(first, second)
        levels = np.abs(quantize(theirs, 20.0).astype(int) - quantize(field, 20.0)).max(axis=0)
        assert np.hypot(*(theirs - field)).mean() <= 0.1
        assert (levels <= 1).mean() >= 0.95


def test_fields_agree_with_opencv_on_a_generated_clip() -> None:
    rng = np.random.default_rng(5)
    look = draw_look(96, 0.5, rng)
    states = still(look, 3)
    states = states._replace(x=states.x + 2.5 * np.arange(3), angle=states.angle + 0.1 * np.arange(3))
    images = render(look, states, background(96, rng))
    assert_agrees(np.stack([cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in images]))


@pytest.mark.data
@pytest.mark.skipif(not CLIPS.is_dir(), reason=f"no genuine clips in {CLIPS}")
@pytest.mark.parametrize("clip", GENUINE)
def test_fields_agree_with_opencv_on_genuine_clips(clip: str) -> None:
    assert_agrees(decode_frames(CLIPS / clip, [10, 11], "grey"))


@pytest.mark.parametrize("name", ["translation", "rotation", "scaling", "two layers"])
def test_motion_is_found_as_well_as_by_opencv(name: str) -> None:
    motion = motions((96, 112))[name]
    ours = end_point_error(batched(motion.first[None], motion.second[None])[0], motion.flow)
    theirs = end_point_error(estimator("tvl1")(motion.first, motion.second), motion.flow)
    assert ours == pytest.approx(theirs, abs=0.02)
    assert ours < 0.4


def test_a_pair_does_not_depend_on_its_batch() -> None:
    pairs = list(motions((48, 56)).values())
    first, second = (np.stack([pair[side] for pair in pairs]) for side in (0, 1))
    together = batched(first, second)
    for number, field in enumerate(together):
        np.testing.assert_array_equal(batched(first[number : number + 1], second[number : number + 1])[0], field)


def test_equal_frames_do_not_move() -> None:
    frame = motions((48, 56))["scaling"].first[None]
    assert np.abs(batched(frame, frame)).max() < 1e-3


@pytest.mark.parametrize("size", [(3, 3), (20, 70)])
def test_small_frames_have_fewer_scales(size: tuple[int, int]) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (2, 1, *size), np.uint8)
    assert np.isfinite(batched(*frames)).all()


KERNELS_AGAINST_TORCH = """
import torch
from worker.video.flow import tvl1_kernels as kernels
from worker.video.flow.images import centred_gradient, median5
from worker.video.flow.tvl1 import TVL1

generator = torch.Generator().manual_seed(3)
height, width = 19, 133  # more than one tile, none of them full
flow = torch.randn(2, 2, height, width, generator=generator) * 3
medians, pairs = torch.empty_like(flow), torch.tensor([0, 1], dtype=torch.int32)
size = dict(HEIGHT=height, WIDTH=width, ROWS=8, COLUMNS=128)
kernels.median5[(6, 4)](pairs, flow, medians, **size)
assert torch.equal(medians, median5(flow))

smooth = torch.nn.functional.avg_pool2d(torch.rand(4, height + 4, width + 4, generator=generator), 5, 1) * 255
first, second = smooth[:2], smooth[2:]
second[0] = first[0] + 0.01  # a pair that stops early
method = TVL1(inner=2, outer=2, epsilon=0.02)
images = torch.stack([second, *centred_gradient(second)], dim=1)
flow, dual = flow * 0.1, torch.rand(2, 4, height, width, generator=generator) * 0.1
flow[0], dual[0] = 0.0, 0.0
terms = method._linearise(first, images, flow)
ours, ours_dual = kernels.solve(method._numbers(flow), first, images, flow, dual)
plain, plain_dual = method._solve(terms, flow, dual)
torch.testing.assert_close(ours, plain, atol=1e-4, rtol=1e-4)
torch.testing.assert_close(ours_dual, plain_dual, atol=1e-4, rtol=1e-4)
alone, _ = kernels.solve(method._numbers(flow), first[1:], images[1:], flow[1:], dual[1:])
assert torch.equal(alone[0], ours[1])
"""


@pytest.mark.long  # a GPU runs the kernels, a CPU plain PyTorch
def test_the_kernels_compute_what_plain_torch_does() -> None:
    """Runs them in Triton's interpreter, which needs a process of its own."""
    pytest.importorskip("triton", reason="Triton is not on this platform")
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    code = ["-W", "ignore", "-c", KERNELS_AGAINST_TORCH]
    subprocess.run([sys.executable, *code], check=True, timeout=240, env=environment, cwd=Path(__file__).parents[4])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_kernels_agree_with_opencv_on_a_gpu() -> None:
    motion = motions()["two layers"]
    first, second = (torch.from_numpy(frame)[None].cuda() for frame in motion[:2])
    ours, theirs = TVL1(fused=True)(first, second)[0].cpu().numpy(), estimator("tvl1")(*motion[:2])
    assert np.hypot(*(ours - theirs)).mean() <= 0.1
