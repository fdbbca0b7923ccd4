"""How long does augmenting a batch of 64 clips take, against torchvision v2 clip by clip?

Both crop a random area, mirror half of the clips, resize to 224 with antialiasing and normalise; one frame a clip, as a
ConvNet is trained, and three, as TSN's snippets are.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import v2

from worker.video.crops import IMAGENET, Change, augment_batch
from worker.video.transforms import random_area_box

CLIPS, SIZE, ROUNDS = 64, 224, 7


def decoded(frames: int) -> list[Tensor]:
    """Return clips (T, 3, 240, 320) as the decoder gives them: the channels of a pixel side by side."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (CLIPS, frames, 240, 320, 3)).astype(np.uint8)
    return [torch.from_numpy(clip).permute(0, 3, 1, 2) for clip in images]


def ours(clips: list[Tensor]) -> Tensor:
    rng = np.random.default_rng(0)
    changes = [Change(random_area_box(240, 320, 0.08, rng), rng.random() < 0.5) for _ in clips]
    return augment_batch(clips, changes, SIZE, IMAGENET, invert_x=False)


def theirs(clips: list[Tensor]) -> Tensor:
    transform = v2.Compose(
        [
            v2.RandomResizedCrop(SIZE, antialias=True),
            v2.RandomHorizontalFlip(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(*IMAGENET),
        ]
    )
    return torch.stack([transform(clip) for clip in clips])


def spent(work: Callable[[list[Tensor]], Tensor], clips: list[Tensor]) -> tuple[float, float]:
    """Return milliseconds of processor time and by the wall."""
    processor, wall = time.process_time(), time.perf_counter()
    work(clips)
    return 1000 * (time.process_time() - processor), 1000 * (time.perf_counter() - wall)


def main() -> None:
    """Print milliseconds a batch and the ratio."""
    print(f"batch of {CLIPS}, 320x240 to {SIZE}x{SIZE}, {torch.get_num_threads()} threads, in turns, best of {ROUNDS}")
    for frames in (1, 3):
        clips = decoded(frames)
        rounds = [(*spent(ours, clips), *spent(theirs, clips)) for _ in range(ROUNDS)]
        own, own_wall, other, other_wall = (min(column) for column in zip(*rounds, strict=True))
        for clock, mine, rival in (("processor", own, other), ("wall", own_wall, other_wall)):
            print(f"{frames} frames a clip, {clock}: {mine:.1f} ms, v2 {rival:.1f} ms, ratio {rival / mine:.2f}")


if __name__ == "__main__":
    main()
