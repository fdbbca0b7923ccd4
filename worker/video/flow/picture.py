"""Flow as a picture: direction as hue, speed as colour, stillness white."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def colour_wheel(flow: NDArray[np.float32], fastest: float) -> NDArray[np.uint8]:
    """Return rgb, uint8 (H, W, 3).

    Args:
        flow: float32 (2, H, W) in pixels, x then y.
        fastest: speed in pixels that is fully saturated; to the right is red, downwards is a yellow green, to the left
            cyan, upwards violet.
    """
    degrees = np.rad2deg(np.arctan2(flow[1], flow[0])) % 360
    speed = np.minimum(np.hypot(flow[0], flow[1]) / fastest, 1.0)
    hsv = np.stack([degrees, speed, np.ones_like(speed)], axis=-1).astype(np.float32)
    rgb: NDArray[np.uint8] = np.rint(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * 255).astype(np.uint8)
    return rgb
