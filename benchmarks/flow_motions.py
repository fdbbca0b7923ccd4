"""Pairs of frames whose motion is known exactly: for the tests of flow, and for the tables of ``docs/flow.md``."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Texture = Callable[[Floats, Floats], Floats]
MARGIN = 8  # pixels at the border that are not counted: what moves in there was never seen


class Motion(NamedTuple):
    """Two frames, uint8 (H, W), and the true motion from the first to the second: float64 (2, H, W), x then y."""

    first: NDArray[np.uint8]
    second: NDArray[np.uint8]
    flow: Floats


def texture(seed: int) -> Texture:
    """Return a smooth random texture that has a value, 0 to 255, at every real position (x, y)."""
    rng = np.random.default_rng(seed)
    angle, phase = rng.uniform(0, 2 * np.pi, (2, 40))
    length = rng.uniform(5, 50, 40)
    kx, ky = 2 * np.pi * np.cos(angle) / length, 2 * np.pi * np.sin(angle) / length
    height = np.sqrt(length / length.mean())

    def value(x: Floats, y: Floats) -> Floats:
        waves = height * np.cos(x[..., None] * kx + y[..., None] * ky + phase)
        return np.clip(127.5 + 16 * waves.sum(axis=-1), 0, 255)

    return value


def motions(size: tuple[int, int] = (120, 160)) -> dict[str, Motion]:
    """Return four motions by name, in frames of (H, W)."""
    y, x = np.mgrid[0 : size[0], 0 : size[1]].astype(np.float64)
    middle_x, middle_y = (size[1] - 1) / 2, (size[0] - 1) / 2
    turn = np.deg2rad(3.0)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    shift = np.array([3.3, -1.7])
    return {
        "translation": _affine(x, y, np.eye(2), shift, (middle_x, middle_y)),
        "rotation": _affine(x, y, rotation, np.zeros(2), (middle_x, middle_y)),
        "scaling": _affine(x, y, 1.05 * np.eye(2), np.zeros(2), (middle_x, middle_y)),
        "two layers": _layers(x, y, (middle_x, middle_y), size[0] / 4),
    }


def _affine(x: Floats, y: Floats, matrix: Floats, shift: Floats, middle: tuple[float, float]) -> Motion:
    """Move a texture by p -> matrix (p - middle) + middle + shift."""
    look, inverse = texture(1), np.linalg.inv(matrix)
    points = np.stack([x - middle[0], y - middle[1]])
    flow = np.einsum("ij,jhw->ihw", matrix, points) + shift[:, None, None] - points
    source = np.einsum("ij,jhw->ihw", inverse, points - shift[:, None, None])
    second = look(source[0] + middle[0], source[1] + middle[1])
    return Motion(_grey(look(x, y)), _grey(second), flow)


def _layers(x: Floats, y: Floats, middle: tuple[float, float], radius: float) -> Motion:
    """Move a disc by (4, 2) before a background that moves by (-1.5, 0.5)."""
    back, front = texture(1), texture(2)
    frames = []
    for time in (0, 1):
        disc_x, disc_y = x - 4.0 * time, y - 2.0 * time
        inside = np.hypot(disc_x - middle[0], disc_y - middle[1]) <= radius
        frames.append(_grey(np.where(inside, front(disc_x, disc_y), back(x + 1.5 * time, y - 0.5 * time))))
    inside = np.hypot(x - middle[0], y - middle[1]) <= radius
    flow = np.where(inside, np.array([4.0, 2.0])[:, None, None], np.array([-1.5, 0.5])[:, None, None])
    return Motion(frames[0], frames[1], flow)


def _grey(values: Floats) -> NDArray[np.uint8]:
    return np.rint(values).astype(np.uint8)


def end_point_error(field: NDArray[np.float32], truth: Floats) -> float:
    """Return the mean distance in pixels between two fields (2, H, W), less a margin at the border."""
    inner = (slice(MARGIN, -MARGIN), slice(MARGIN, -MARGIN))
    return float(np.hypot(*(field - truth))[inner].mean())
