"""How near is each algorithm to known motion, and how long does it take? ``--pictures FOLDER`` also draws its flow."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import report
from benchmarks.flow_motions import end_point_error, motions
from worker.video.flow import estimator
from worker.video.flow.brox import Brox
from worker.video.flow.picture import colour_wheel
from worker.video.flow.raft import Raft
from worker.video.flow.tvl1 import TVL1

Pair = Callable[[NDArray[np.uint8], NDArray[np.uint8]], NDArray[np.float32]]
FASTEST = 4.5  # pixels, of the pictures


def batched(method: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], channels: bool = False) -> Pair:
    """Return a batched algorithm as one of single pairs of grey frames."""

    def compute(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float32]:
        frames = [torch.from_numpy(frame)[None] for frame in (first, second)]
        if channels:
            frames = [frame[:, None].expand(-1, 3, -1, -1) for frame in frames]
        return method(*frames)[0].numpy()

    return compute


def algorithms(raft: str | None) -> dict[str, Pair]:
    """Return the algorithms by name; RAFT needs weights."""
    found = {
        "tvl1 (OpenCV)": estimator("tvl1"),
        "tvl1 (ours)": batched(TVL1()),
        "brox": batched(Brox()),
        "farneback": estimator("farneback"),
        "dis": estimator("dis"),
    }
    return found if raft is None else found | {"raft": batched(Raft("large", raft, torch.device("cpu")), channels=True)}


def draw(folder: Path, name: str, field: NDArray[np.floating]) -> None:
    """Write the picture of a field."""
    picture = colour_wheel(field.astype(np.float32), FASTEST)
    cv2.imwrite(str(folder / f"{name}.png"), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))


def main() -> None:
    """Print the table, and draw the pictures if a folder is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--raft", help="weights: a file, or 'default'")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    pairs, large = motions(), motions((240, 320))["two layers"]
    print(report.machine(), "one thread; mean end-point error in pixels at 160 x 120; seconds a pair at 320 x 240")
    for name, compute in algorithms(options.raft).items():
        errors = [end_point_error(compute(pair.first, pair.second), pair.flow) for pair in pairs.values()]
        start = time.process_time()
        field = compute(large.first, large.second)
        seconds = time.process_time() - start
        print(f"| {name:14} | " + " | ".join(f"{error:.3f}" for error in errors) + f" | {seconds:.3f} s |", flush=True)
        if options.pictures:
            draw(options.pictures, name.replace("(", "").replace(")", "").replace(" ", "-").lower(), field)
    if options.pictures:
        cv2.imwrite(str(options.pictures / "first.png"), large.first)
        draw(options.pictures, "truth", large.flow)


if __name__ == "__main__":
    main()
