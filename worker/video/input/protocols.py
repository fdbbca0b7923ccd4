"""Which frames the papers look at, beside the rules of TS-LSTM in `worker.video.input.sampling`: pure functions.

Frames are counted from 0 to T - 1. ``length`` is L, the frames (or flow fields) that a sample spans from its first one
on. Both streams of a clip share one choice: flow takes the L fields from there, rgb the frame in their middle
(`worker.video.input.snippets.centres`). What is cut into equal parts are the T - L + 1 first frames that a sample can
have; `models.parts.segments` says how each paper rounds.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from models.parts.segments import exact_parts, whole_parts
from worker.video.input.sampling import Indices, require_positive


def first_seconds(num_frames: int, fps: float, seconds: float = 10.0) -> int:
    """Return how many frames of a clip lie in its first seconds, at least 1 (TS-LSTM, sec. 4.4: 10 s).

    A clip whose rate is unknown (``fps`` 0) is taken whole.
    """
    require_positive(num_frames=num_frames)
    if seconds <= 0 or fps < 0:
        raise ValueError(f"seconds, fps: got {seconds}, {fps}, allowed: seconds above 0, fps from 0")
    return min(num_frames, max(1, math.floor(fps * seconds + 1e-6))) if fps else num_frames


def segment_starts(num_frames: int, segments: int, length: int, rng: np.random.Generator) -> Indices:
    """Draw one start in each of K whole parts: training of TSN and Relational LSTM (tsn-pytorch, `_sample_indices`).

    Parts have ``(T - L + 1) // K`` starts. Where that is 0, K starts are drawn from all and sorted (the code takes
    K zeros where T is no more than K); a clip shorter than L starts at 0 always.

    Returns:
        (K,) first frames in [0, max(0, T - L)], never falling.
    """
    require_positive(num_frames=num_frames, segments=segments, length=length)
    choices = num_frames - length + 1
    if choices <= 0:
        return np.zeros(segments, np.int64)
    firsts, size = _whole_parts(choices, segments)
    if size:
        return firsts + rng.integers(size, size=segments)
    starts: Indices = np.sort(rng.integers(choices, size=segments)).astype(np.int64)
    return starts


def segment_centres(num_frames: int, segments: int, length: int) -> Indices:
    """Return the middle start of each of K exact parts: the test of tsn-pytorch, with K = 25.

    ``int(tick / 2 + tick i)`` with ``tick = (T - L + 1) / K``, in floats as there: where the middle is a whole number,
    they may fall one start short of it. A clip of fewer starts than K repeats some, and one that is shorter than L
    starts at 0 always. Its validation differs in clips of fewer than L + K frames, all of whose starts are 0 there.

    Returns:
        (K,) first frames in [0, max(0, T - L)], never falling.
    """
    require_positive(num_frames=num_frames, segments=segments, length=length)
    tick = max(0, num_frames - length + 1) / segments
    starts: Indices = np.floor(tick / 2 + tick * np.arange(segments)).astype(np.int64)
    return starts


def ticks(num_frames: int, count: int, length: int) -> Indices:
    """Return equally spaced starts from frame 0 on: 25 of Simonyan & Zisserman, and TSN's test in Caffe.

    ``step = (T - L) // (count - 1)``; starts are 0, step, 2 step, ... A clip too short for a step of 1 repeats frames.

    Returns:
        (count,) first frames in [0, max(0, T - L)], never falling.
    """
    require_positive(num_frames=num_frames, count=count, length=length)
    last = max(0, num_frames - length)
    step = last // max(1, count - 1)
    if step:
        return (np.arange(count) * step).astype(np.int64)
    return (np.arange(count) * last // max(1, count - 1)).astype(np.int64)


def snippet(num_frames: int, rng: np.random.Generator, length: int = 30) -> Indices:
    """Draw a run of frames: training of VideoLSTM, sec. 5.2; a shorter clip repeats its last frame, as its code does.

    Returns:
        (length,) frame numbers in [0, T - 1], rising by 1 until the clip ends.
    """
    require_positive(num_frames=num_frames, length=length)
    return _run(int(rng.integers(max(1, num_frames - length + 1))), length, num_frames)


def snippets(num_frames: int, count: int = 25, length: int = 30) -> Indices:
    """Return equally spaced runs of frames: test of VideoLSTM, sec. 5.2; its code begins at ``int(a / 2 + j a)``.

    ``a`` is ``(T - length + 1) // count``: the middles of whole parts. A clip of fewer than ``length + 24`` frames is
    read from its beginning 25 times, as by its code.

    Returns:
        (count, length) frame numbers in [0, T - 1].
    """
    require_positive(num_frames=num_frames, count=count, length=length)
    firsts, size = _whole_parts(max(0, num_frames - length + 1), count)
    return np.stack([_run(int(first) + size // 2, length, num_frames) for first in firsts])


def segment_positions(num_frames: int, segments: int = 8, positions: int = 4, length: int = 1) -> Indices:
    """Return groups of starts, one of each segment in a group: test of Relational LSTM, sec. 5.2 (8 segments x 4).

    Group ``p`` takes the start at the same share, ``(p + 1/2) / positions``, of every exact part.

    Returns:
        (positions, segments) first frames in [0, max(0, T - L)], never falling within a group.
    """
    require_positive(num_frames=num_frames, segments=segments, positions=positions, length=length)
    choices = torch.tensor([max(1, num_frames - length + 1)])
    share = (torch.arange(positions, dtype=torch.float64)[:, None] + 0.5) / positions
    groups: Indices = exact_parts(choices, segments, share).numpy()
    return groups


def _whole_parts(choices: int, segments: int) -> tuple[Indices, int]:
    """Return the first start of each part, and how many starts it has."""
    firsts, sizes = whole_parts(torch.tensor([choices]), segments)
    return firsts[0].numpy(), int(sizes)


def _run(first: int, length: int, num_frames: int) -> Indices:
    return np.minimum(np.arange(first, first + length), num_frames - 1).astype(np.int64)
