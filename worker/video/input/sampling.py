"""Which frames of a clip are looked at: pure functions of its length and, for training, of a generator.

Frames are counted from 0 to T - 1. Flow field ``i`` is the motion from frame ``i`` to frame ``i + 1``, so a clip has
T - 1 fields, 0 to T - 2. The same frame numbers serve both streams: rgb takes the frame, flow the L fields around it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.specs import Spacing

Indices = NDArray[np.int64]


def spaced(num_frames: int, count: int, stack: int, spacing: Spacing = "even") -> Indices:
    """Return equally spaced frames by one of the two rules below."""
    rule = spaced_frames if spacing == "even" else spaced_frames_whole_step
    return rule(num_frames, count, stack)


def spaced_frames(num_frames: int, count: int, stack: int) -> Indices:
    """Return equally spaced frames whose flow stacks lie inside the clip (TS-LSTM, sec. 3.4.1: "sampled equally").

    The first and last frame keep a margin of L // 2 for the stack, at most a quarter of the clip when it is short.
    Positions between are rounded towards the nearer end, so that the choice is its own mirror image: no half of a clip
    is favoured. TS-LSTM's code spaces by a whole step instead, see `spaced_frames_whole_step`.

    Args:
        num_frames: T >= 1.
        count: how many frames, >= 1; frames repeat where the clip has fewer.
        stack: L, the flow fields around a frame; give both streams the same.

    Returns:
        (count,) frame numbers in [0, T - 1], never falling.
    """
    require_positive(num_frames=num_frames, count=count, stack=stack)
    margin = min(stack // 2, (num_frames - 1) // 4)
    last = num_frames - 1 - margin
    positions = np.linspace(margin, last, count) if count > 1 else np.array([(num_frames - 1) / 2])
    first_half = np.arange(count) < (count + 1) // 2
    return np.where(first_half, np.floor(positions + _EPSILON), np.ceil(positions - _EPSILON)).astype(np.int64)


_EPSILON = 1e-6  # linspace may fall short of a whole number by a rounding error


def spaced_frames_whole_step(num_frames: int, count: int, stack: int) -> Indices:
    """Return the frames that TS-LSTM's code takes: a whole step, and so a tail that is never seen.

    ``step = max(1, (T - (L - 1)) // count)``, the i-th frame is ``min(i * step + L/2 - 1, T - 1 - L/2)``; with L = 10
    and frames counted from 1 that is ``min((i - 1) * step + 5, N - 5)`` with ``step = max(1, (N - 9) // 25)``. A clip
    of 58 frames is read up to frame 29; that is why `spaced_frames` is the default.

    Returns:
        (count,) frame numbers in [0, T - 1], never falling.
    """
    require_positive(num_frames=num_frames, count=count, stack=stack)
    step = max(1, (num_frames - stack + 1) // count)
    first = max(0, stack // 2 - 1)
    frames = np.minimum(np.arange(count) * step + first, num_frames - 1 - stack // 2)
    return np.clip(frames, 0, num_frames - 1).astype(np.int64)


def random_frame(num_frames: int, rng: np.random.Generator) -> int:
    """Return one frame number, uniform over [0, T - 1]."""
    require_positive(num_frames=num_frames)
    return int(rng.integers(num_frames))


def stack_fields(frame: int, stack: int, num_frames: int) -> Indices:
    """Return the flow fields around a frame: f - 4 to f + 5 for L = 10 (TS-LSTM's code), f alone for L = 1.

    Fields beyond the ends of the clip are replaced by its first or last field.

    Args:
        frame: f, in [0, T - 1].
        stack: L >= 1.
        num_frames: T >= 2.

    Returns:
        (L,) field numbers in [0, T - 2].
    """
    require_positive(stack=stack, num_fields=num_frames - 1)
    if not 0 <= frame < num_frames:
        raise ValueError(f"frame: got {frame}, allowed: 0 to {num_frames - 1}")
    first = frame - (stack - 1) // 2
    return np.clip(np.arange(first, first + stack), 0, num_frames - 2).astype(np.int64)


def require_positive(**values: int) -> None:
    """Raise ValueError for a value below 1, by its name."""
    for name, value in values.items():
        if value < 1:
            raise ValueError(f"{name}: got {value}, allowed: 1 or more")
