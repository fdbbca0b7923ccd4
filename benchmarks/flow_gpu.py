"""How fast is TV-L1 on one GPU at 340 x 256, decode and quantising included, beside OpenCV on one core?

Goals: at least 300 x OpenCV, at least 1,500 pairs a second. The floor is the time in which the memory moves the bytes
that the inner iterations must move: 15 floats for each pixel of each iteration that a pair makes, counted in this run.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import report
from benchmarks.flow_cpu import CLIPS, generated
from services.params import FlowMethodParams
from worker.video.decoding.decode import decode_clip
from worker.video.flow import batched, quantize
from worker.video.flow.tvl1 import TVL1, Terms
from worker.video.generated.motion_shapes import write_avi

SIZE = (256, 340)  # H, W
FLOATS = 15  # read: flow 2, dual 4, terms 3; written: flow 2, dual 4
PARAMS = FlowMethodParams(algorithm="tvl1", bound=20.0)
NUM_CLIPS, NUM_FRAMES, RIVAL_PAIRS, THREADS = 24, 129, 6, 8
GOAL_RATIO, GOAL_RATE = 300, 1500


class Counting(TVL1):
    """Counts pixels times iterations, on the path of plain torch, whose steps are the kernels'."""

    pixels = 0

    def _primal_step(self, terms: Terms, flow: torch.Tensor, dual: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        Counting.pixels += flow.numel() // 2
        return super()._primal_step(terms, flow, dual)


def write_clips(folder: Path) -> list[Path]:
    """Write clips of 340 x 256: genuine ones, resized, or generated ones."""
    files = sorted(CLIPS.rglob("*.avi"))
    paths = []
    for number in range(NUM_CLIPS):
        images = decode_clip(files[len(files) * number // NUM_CLIPS]) if files else generated(number, NUM_FRAMES)
        resized = np.stack([cv2.resize(image, SIZE[::-1]) for image in images[:NUM_FRAMES]])
        paths.append(folder / f"{number:02}.avi")
        write_avi(paths[-1], resized)
    print(f"{NUM_CLIPS} {'genuine' if files else 'generated'} clips, {SIZE[1]}x{SIZE[0]}, PyAV {av.__version__}")
    return paths


def opencv_seconds(clips: list[NDArray[np.uint8]]) -> float:
    """Return seconds a pair of OpenCV on one core, quantising included, over pairs spread over the clips."""
    cv2.setNumThreads(1)
    method = cv2.optflow.DualTVL1OpticalFlow_create()
    start, pairs = time.perf_counter(), clips[:: max(1, len(clips) // RIVAL_PAIRS)]
    for clip in pairs:
        middle = len(clip) // 2
        quantize(method.calc(clip[middle], clip[middle + 1], None).transpose(2, 0, 1), PARAMS.bound)
    return (time.perf_counter() - start) / len(pairs)


def gpu_seconds(paths: list[Path], device: torch.device) -> tuple[float, int]:
    """Return seconds and pairs of all clips, decoded by threads ahead of the GPU."""
    flow, pairs = batched.build(PARAMS, device), 0
    flow.fields(decode_clip(paths[0], "grey"))  # compiles the kernels
    torch.cuda.synchronize()
    start = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as pool:
        decoded = deque(pool.submit(decode_clip, path, "grey") for path in paths)
        while decoded:
            pairs += len(flow.fields(decoded.popleft().result()))
    return time.perf_counter() - start, pairs


def bytes_per_second(device: torch.device) -> float:
    """Return how many bytes a second a copy within the GPU's memory reads and writes."""
    source = torch.empty(2**30, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    target.copy_(source)
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(20):
        target.copy_(source)
    torch.cuda.synchronize()
    return 20 * 2 * source.numel() / (time.perf_counter() - start)


def iterated_pixels(clips: list[NDArray[np.uint8]], device: torch.device) -> float:
    """Return pixels times iterations of a mean pair."""
    method = Counting(fused=False)
    frames = [torch.from_numpy(clip[len(clip) // 2 :][:2]).to(device) for clip in clips]
    method(torch.stack([pair[0] for pair in frames]), torch.stack([pair[1] for pair in frames]))
    return Counting.pixels / len(clips)


def main() -> None:
    """Print the figures, or say why there are none."""
    if not torch.cuda.is_available():
        print("skipped: no CUDA device; this benchmark needs one (nothing was measured)")
        sys.exit(0)
    device = torch.device("cuda:0")
    with tempfile.TemporaryDirectory() as name:
        paths = write_clips(Path(name))
        clips = [decode_clip(path, "grey") for path in paths]
        rival = opencv_seconds(clips)
        seconds, pairs = gpu_seconds(paths, device)
    rate, bandwidth = pairs / seconds, bytes_per_second(device)
    moved = iterated_pixels(clips, device) * FLOATS * 4
    print(f"{report.machine()}; {torch.cuda.get_device_name(device)}; {bandwidth / 1e12:.2f} TB/s measured by a copy")
    print(f"OpenCV, one core         {1 / rival:10.2f} pairs/s")
    print(f"ours, decode to bytes    {rate:10.0f} pairs/s  (goal {GOAL_RATE})")
    print(f"ratio                    {rate * rival:10.0f} x        (goal {GOAL_RATIO})")
    print(f"memory floor             {bandwidth / moved:10.0f} pairs/s  ({moved / 1e9:.2f} GB a pair)")
    print(f"share of the floor       {rate * moved / bandwidth:10.2f}")


if __name__ == "__main__":
    main()
