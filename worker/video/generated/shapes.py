"""How `motion_shapes` draws: one textured shape with n equal corners on a textured background, on a torus."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Field = NDArray[np.float32]

# Equal luma by ITU-R BT.601 (80.7), so that grey frames and flow cannot tell them apart.
RED = (190.0, 34.0, 34.0)
BLUE = (34.0, 81.3, 200.0)


class Look(NamedTuple):
    """What a clip's shape looks like.

    Attributes:
        size: S, side of the frame in pixels.
        corners: n; shape and texture repeat n times around.
        sharpness: how far corners stand out, in parts of the radius.
        rings: of the texture, from the middle to the rim.
        contrast: of the texture, in parts of the colour.
        smallest: radius in pixels when it has not grown.
        largest: radius in pixels when it has.
        x, y: position in pixels.
        angle: in radians.
        growth: from smallest (0) to largest (1) where the clip does not change it.
        red: colour where the clip does not change it.
    """

    size: int
    corners: int
    sharpness: float
    rings: float
    contrast: float
    smallest: float
    largest: float
    x: float
    y: float
    angle: float
    growth: float
    red: bool


class States(NamedTuple):
    """What may change in a clip, one value for each of T frames: position, growth from 0 to 1, angle, colour."""

    x: Floats
    y: Floats
    growth: Floats
    angle: Floats
    red: NDArray[np.bool_]


def draw_look(size: int, growth: float, rng: np.random.Generator) -> Look:
    """Draw a shape for frames of side ``size``."""
    return Look(
        size=size,
        corners=int(rng.integers(3, 7)),
        sharpness=rng.uniform(0.1, 0.3),
        rings=rng.uniform(0.8, 1.4),
        contrast=rng.uniform(0.15, 0.25),
        smallest=rng.uniform(0.11, 0.15) * size,
        largest=rng.uniform(0.32, 0.38) * size,
        x=rng.uniform(0, size),
        y=rng.uniform(0, size),
        angle=rng.uniform(0, 2 * np.pi),
        growth=growth,
        red=bool(rng.random() < 0.5),
    )


def still(look: Look, num_frames: int) -> States:
    """Return the states of a shape that does not change, T times."""
    return States(*(np.full(num_frames, value) for value in (look.x, look.y, look.growth, look.angle, look.red)))


def background(size: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw a soft texture in a pale tint: float32 (S, S, 3) in [0, 255]."""
    texture = np.zeros((size, size), np.float64)
    for grain in (size // 16, size // 6):
        noise = cv2.GaussianBlur(np.tile(rng.normal(size=(size, size)), (3, 3)), (0, 0), grain / 2)
        noise = noise[size : 2 * size, size : 2 * size]
        texture += noise / noise.std()
    tint = rng.uniform(130, 180, size=3)
    scene = tint + 16.0 * texture[..., None] * rng.uniform(0.7, 1.3, size=3)
    return np.clip(scene, 0, 255).astype(np.float32)


def render(look: Look, states: States, scene: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Draw T frames, uint8 (T, S, S, 3).

    Args:
        look: the shape.
        states: T states.
        scene: background, float32 (S, S, 3).
    """
    wave, distance, radius = _polar(look, states)
    inside = _inside(look, wave, distance, radius)[..., None]
    texture = 1.0 + look.contrast * wave * np.cos(2 * np.pi * look.rings * distance / radius)
    colour = np.where(states.red[:, None], RED, BLUE).astype(np.float32)  # (T, 3)
    shape = texture[..., None] * colour[:, None, None, :]
    frames: NDArray[np.uint8] = np.rint(scene + inside * (shape - scene)).clip(0, 255).astype(np.uint8)
    return frames


def coverage(look: Look, states: States) -> NDArray[np.float32]:
    """Return the share of each pixel that the shape covers, ``(T, S, S)`` from 0 to 1; arguments as for `render`."""
    return _inside(look, *_polar(look, states))


def _polar(look: Look, states: States) -> tuple[Field, Field, Field]:
    """Return the wave of the corners and the distance from the middle, ``(T, S, S)``, and the radius ``(T, 1, 1)``."""
    size = look.size
    grid = np.arange(size, dtype=np.float32)
    across = (grid - states.x[:, None].astype(np.float32) + size / 2) % size - size / 2  # (T, S)
    down = (grid - states.y[:, None].astype(np.float32) + size / 2) % size - size / 2
    distance = np.hypot(across[:, None, :], down[:, :, None])  # (T, S, S)
    direction = np.arctan2(down[:, :, None], across[:, None, :]) - states.angle[:, None, None].astype(np.float32)
    wave = np.cos(look.corners * direction)
    radii = look.smallest + (look.largest - look.smallest) * states.growth
    return wave, distance, radii[:, None, None].astype(np.float32)


def _inside(look: Look, wave: Field, distance: Field, radius: Field) -> Field:
    inside: Field = np.clip(radius * (1.0 + look.sharpness * wave) - distance + 0.5, 0.0, 1.0)
    return inside
