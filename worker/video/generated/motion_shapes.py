"""`motion_shapes`: generated clips whose classes differ in motion and in order, never in a single frame.

Real AVI files and lists in UCF101's layout, made of `MotionShapesParams` alone, so that a ConvNet, a pooling head and a
temporal network can be told apart in minutes. A clip shows one textured shape on a textured background. The plane is a
torus: what leaves on one side enters on the other, so that a position says nothing about the motion.

    SlideLeft  SlideRight   the shape slides; one is the other backwards
    GrowShrink ShrinkGrow   it grows, rests, shrinks
    RedBlue    BlueRed      it stands still and changes colour, red and blue being of equal luma: no flow at all
    SpinSlide  SlideSpin    it turns, rests, slides out and back

Construction, and what follows from it:

1. *Pairs share their frames.* Both clips of a pair with the same group and number have the same frames in another
   order: the Slide pair reversed, the three order pairs cut at the change of phase and swapped (a circular shift).
   Frames are coded each by itself (Motion JPEG), so that decoded frames are equal bit for bit: one frame is at chance
   inside a pair.
2. *All classes look alike.* The 8 clips of one group and number share background, shape, and position, angle, size
   and colour at rest. Over the dataset each of these has the same distribution in all classes: a shape that keeps its
   size has that of a random moment of some growing clip, one that keeps its colour is red or blue with equal chance,
   position and angle are uniform. One frame is at chance among all 8, and hardly gives away its clip to be learnt by
   heart.
3. *Pooling over time is blind to order.* Each phase begins and ends at rest and starts where the other ends, so the
   motions between neighbouring frames are the same set in both clips of an order pair too. A phase rests for
   `REST_FIELDS` fields before and after its motion (in clips of 31 frames and more), so that a flow stack of L <= 5
   fields never sees both phases and sees both from rest to rest. The share of the first phase is random and symmetric
   about one half, and lengths are odd: equally spaced frames show no phase more often than the other.
4. The Slide pair has opposite mean flow, so pooled flow solves it: 2 of 8 classes for sure and chance in three pairs
   gives mean pooling 62.5 %. Only a model that sees order solves all; a mirror image as augmentation swaps the Slide
   pair.

Groups 1 to 25 share a background; test groups of the splits are 1-7, 8-14, 15-21, as UCF101's.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple, TypeVar

import av
import numpy as np
from numpy.typing import NDArray

from services.datasets.motion_shapes import CLASSES, GROUPS, TEST_GROUPS, MotionShapesParams, clip_path, listed_clips
from services.stores.names import temporary
from worker.video.generated.shapes import Field, Floats, Look, States, background, coverage, draw_look, render, still

FRAMES_PER_SECOND = 25
REST_FIELDS = 4

Progress = Callable[[int, int], None]
Frames = NDArray[np.uint8]
Value = TypeVar("Value", np.uint8, np.float32)


class GeneratedFolders(NamedTuple):
    """Where a generated dataset lies: folder of the clips, folder of the lists."""

    clips: Path
    lists: Path


def motion_shapes_folders(params: MotionShapesParams, data_root: Path) -> GeneratedFolders:
    """Return the folders that belong to the parameters, generated or not."""
    folder = data_root / params.folder_name
    return GeneratedFolders(folder / "UCF-101", folder / "lists")


def generate_motion_shapes(
    params: MotionShapesParams, data_root: Path, progress: Progress | None = None
) -> GeneratedFolders:
    """Write clips and lists unless they exist; equal parameters give equal bytes.

    The folder appears complete or not at all. Of several processes one writes, the others wait for it.

    Args:
        params: what the clips are made from.
        data_root: parent of the folder.
        progress: called with finished and all clips.
    """
    folders = motion_shapes_folders(params, data_root)
    folder = folders.clips.parent
    with _locked(data_root / f".{folder.name}.lock"):
        if not folder.exists():
            partial = temporary(folder)
            shutil.rmtree(partial, ignore_errors=True)  # left by a process that was killed
            _write_clips(params, partial / folders.clips.name, progress or (lambda _done, _total: None))
            _write_lists(params, partial / folders.lists.name)
            partial.rename(folder)
    return folders


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # ends with the process, however that ends
        yield


def _write_clips(params: MotionShapesParams, root: Path, progress: Progress) -> None:
    for name in CLASSES:
        (root / name).mkdir(parents=True)
    total, done = len(GROUPS) * params.clips_per_group * len(CLASSES), 0
    for group in GROUPS:
        scene = background(params.size, np.random.default_rng([params.seed, group]))
        for number in range(1, params.clips_per_group + 1):
            for first in range(0, len(CLASSES), 2):
                pair = CLASSES[first], CLASSES[first + 1]
                for name, frames in zip(pair, pair_frames(pair[0], params, scene, group, number), strict=True):
                    write_avi(root / clip_path(name, group, number), frames)
                done += 2
                progress(done, total)


def pair_frames(
    name: str, params: MotionShapesParams, scene: NDArray[np.float32], group: int, number: int
) -> tuple[Frames, Frames]:
    """Return both clips of a pair, uint8 (T, S, S, 3), T odd where the parameters allow: the same frames in two orders.

    Args:
        name: first class of the pair.
        params: seed, size and range of lengths.
        scene: background, float32 (S, S, 3) in [0, 255].
        group: from 1 to 25.
        number: of the clip in its group.
    """
    look, states, cut = _pair(name, params, group, number)
    return _in_two_orders(name, render(look, states, scene), cut)


def pair_coverage(name: str, params: MotionShapesParams, group: int, number: int) -> tuple[Field, Field]:
    """Return where the shape is in both clips of a pair, (T, S, S) from 0 to 1; arguments as for `pair_frames`."""
    look, states, cut = _pair(name, params, group, number)
    return _in_two_orders(name, coverage(look, states), cut)


def _pair(name: str, params: MotionShapesParams, group: int, number: int) -> tuple[Look, States, int]:
    look = _look(params, np.random.default_rng([params.seed, group, number]))
    rng = np.random.default_rng([params.seed, group, number, CLASSES.index(name)])
    num_frames, cut = _lengths(params, rng)
    return look, _MOTIONS[name](look, num_frames, cut, rng), cut


def _in_two_orders(name: str, frames: NDArray[Value], cut: int) -> tuple[NDArray[Value], NDArray[Value]]:
    if name == "SlideLeft":
        return frames, frames[::-1]
    return frames, np.concatenate([frames[cut:], frames[:cut]])


def _look(params: MotionShapesParams, rng: np.random.Generator) -> Look:
    """Draw a shape; where a clip does not change its size, it is that of a random moment of some growing clip."""
    moments = _growth(*_lengths(params, rng))
    return draw_look(params.size, float(rng.choice(moments)), rng)


def _lengths(params: MotionShapesParams, rng: np.random.Generator) -> tuple[int, int]:
    """Draw the frames of a clip and those of its first phase."""
    num_frames = _odd_length(params, rng)
    return num_frames, _phase_length(num_frames, rng)


def _odd_length(params: MotionShapesParams, rng: np.random.Generator) -> int:
    length = int(rng.integers(params.min_frames, params.max_frames + 1))
    if length % 2 == 0:
        length += 1 if length < params.max_frames else -1
    return max(length, params.min_frames)


def _phase_length(num_frames: int, rng: np.random.Generator) -> int:
    """Draw the frames of the first phase, symmetric about T / 2, leaving both phases room for motion and rest."""
    shortest = max(round(0.4 * num_frames), motion_fields(num_frames) + 2 * REST_FIELDS + 1)
    shortest = min(shortest, num_frames // 2)
    return int(rng.integers(shortest, num_frames - shortest + 1))


def motion_fields(num_frames: int) -> int:
    """Return over how many flow fields the motion of a phase is spread; the phase rests before and after."""
    return max(6, num_frames // 7)


def _ramp(num_frames: int, motion: int) -> NDArray[np.float64]:
    """Return progress over a phase of (num_frames,) frames: 0, a rise over ``motion`` fields in its middle, 1."""
    rest = (num_frames - 1 - motion) // 2
    return np.clip((np.arange(num_frames) - rest) / motion, 0.0, 1.0)


def _slide(look: Look, num_frames: int, cut: int, rng: np.random.Generator) -> States:  # noqa: ARG001
    states = still(look, num_frames)
    return states._replace(x=states.x - _speed(look, rng) * np.arange(num_frames))


def _grow(look: Look, num_frames: int, cut: int, rng: np.random.Generator) -> States:  # noqa: ARG001
    return still(look, num_frames)._replace(growth=_growth(num_frames, cut))


def _growth(num_frames: int, cut: int) -> Floats:
    motion = motion_fields(num_frames)
    return np.concatenate([_ramp(cut, motion), 1.0 - _ramp(num_frames - cut, motion)])


def _recolour(look: Look, num_frames: int, cut: int, rng: np.random.Generator) -> States:  # noqa: ARG001
    return still(look, num_frames)._replace(red=np.arange(num_frames) < cut)


def _spin(look: Look, num_frames: int, cut: int, rng: np.random.Generator) -> States:
    """Turn onto itself by one corner, then slide out and back along x."""
    motion = motion_fields(num_frames)
    turn, direction = rng.choice([-1, 1], size=2)
    angle = turn * 2 * np.pi / look.corners * _ramp(cut, motion)
    way = 1.0 - np.abs(1.0 - 2.0 * _ramp(num_frames - cut, motion))  # 0, 1, 0
    distance = direction * _speed(look, rng) * motion / 2 * way
    states = still(look, num_frames)
    return states._replace(
        angle=states.angle + np.concatenate([angle, np.full(num_frames - cut, angle[-1])]),
        x=states.x + np.concatenate([np.zeros(cut), distance]),
    )


def _speed(look: Look, rng: np.random.Generator) -> float:
    """Draw 2 to 3.5 pixels a frame in a frame of 64, at most 16 in a large one."""
    return min(16.0, rng.uniform(2.0, 3.5) * look.size / 64)


_MOTIONS = {"SlideLeft": _slide, "GrowShrink": _grow, "RedBlue": _recolour, "SpinSlide": _spin}


def write_avi(path: Path, frames: Frames) -> None:
    """Write uint8 (T, H, W, 3) rgb as a Motion JPEG AVI, each frame coded by itself, without chroma subsampling."""
    with av.open(str(path), "w", format="avi", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("mjpeg", rate=Fraction(FRAMES_PER_SECOND), options={"flags": "+bitexact"})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuvj444p"
        stream.codec_context.thread_count = 1
        stream.codec_context.qmin = stream.codec_context.qmax = 3
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))


def _write_lists(params: MotionShapesParams, folder: Path) -> None:
    folder.mkdir(parents=True)
    _write_lines(folder / "classInd.txt", [f"{label} {name}" for label, name in enumerate(CLASSES, start=1)])
    for split in TEST_GROUPS:
        train, test = (listed_clips(params, split, part) for part in ("train", "test"))
        _write_lines(folder / f"trainlist{split:02d}.txt", [f"{path} {label + 1}" for path, label in train])
        _write_lines(folder / f"testlist{split:02d}.txt", [path for path, _ in test])


def _write_lines(file: Path, lines: list[str]) -> None:
    file.write_bytes("".join(f"{line}\r\n" for line in lines).encode())  # CRLF, as the official lists
