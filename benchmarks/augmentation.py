"""How long does augmenting a batch of 64 clips take, against torchvision v2 clip by clip?

Both crop a random area, mirror half of the clips, resize to 224 with antialiasing and normalise; one frame a clip, as a
ConvNet is trained, without and with colour jitter, and three, as TSN's snippets are. Our batch comes into memory that
the batch before had, as in training; v2's comes into new memory, as a loader stacks it, and in a second row into such
memory too.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache, partial

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import v2

from models.backbones.format import IMAGENET
from worker.video.input.transforms import TrainTransform

CLIPS, SIZE, ROUNDS = 64, 224, 7


def decoded(frames: int) -> list[Tensor]:
    """Return clips (T, 3, 240, 320) as the decoder gives them: the channels of a pixel side by side."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (CLIPS, frames, 240, 320, 3)).astype(np.uint8)
    return [torch.from_numpy(clip).permute(0, 3, 1, 2) for clip in images]


def ours(clips: list[Tensor], jitter: float) -> Tensor:
    """Change bytes clip by clip, as a loader does, and finish the batch in memory that the batch before had."""
    rng = np.random.default_rng(0)
    transform = TrainTransform(
        IMAGENET.of(SIZE, 3), flow=False, min_area=0.08, flip=0.5, invert_flow_on_flip=True, jitter=jitter
    )
    samples = [(transform(clip, rng), transform.colours(rng)) for clip in clips]
    frames, colours = (torch.stack(column) for column in zip(*samples, strict=True))
    return transform.finish(frames, colours, memory_for(frames.shape))


@cache
def memory_for(shape: torch.Size) -> Tensor:
    return torch.empty(shape)


def theirs(clips: list[Tensor], jitter: float, *, reuse: bool = False) -> Tensor:
    transform = v2.Compose(
        [
            v2.RandomResizedCrop(SIZE, antialias=True),
            v2.RandomHorizontalFlip(),
            *([v2.ColorJitter(jitter, jitter, jitter)] if jitter else []),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(IMAGENET.rgb_mean, IMAGENET.rgb_std),
        ]
    )
    changed = [transform(clip) for clip in clips]
    memory = memory_for(torch.Size((len(changed), *changed[0].shape))) if reuse else None
    return torch.stack(changed, out=memory)


SYSTEMS: dict[str, Callable[[list[Tensor], float], Tensor]] = {
    "ours": ours,
    "v2": theirs,
    "v2 into used memory": partial(theirs, reuse=True),
}


def spent(work: Callable[[list[Tensor], float], Tensor], clips: list[Tensor], jitter: float) -> tuple[float, float]:
    """Return milliseconds of processor time and by the wall."""
    processor, wall = time.process_time(), time.perf_counter()
    work(clips, jitter)
    return 1000 * (time.process_time() - processor), 1000 * (time.perf_counter() - wall)


def main() -> None:
    """Print milliseconds a batch and the ratio."""
    print(f"batch of {CLIPS}, 320x240 to {SIZE}x{SIZE}, {torch.get_num_threads()} threads, in turns, best of {ROUNDS}")
    for frames, jitter in ((1, 0.0), (1, 0.4), (3, 0.0)):
        clips = decoded(frames)
        rounds = [{name: spent(work, clips, jitter) for name, work in SYSTEMS.items()} for _ in range(ROUNDS)]
        print(f"{frames} frames a clip{', colour jitter' if jitter else ''}")
        for column, clock in enumerate(("processor", "wall")):
            best = {name: min(one[name][column] for one in rounds) for name in SYSTEMS}
            for name, milliseconds in best.items():
                print(f"  {clock}, {name}: {milliseconds:.1f} ms, {milliseconds / best['ours']:.2f} x ours")


if __name__ == "__main__":
    main()
