"""Flow as bytes: the papers' linear map of +-bound pixels, and TS-LSTM's scaling of each field by its own range."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.specs import FlowQuantization

LEVELS = 255


def quantize(flow: NDArray[np.float32], bound: float, method: FlowQuantization = "linear") -> NDArray[np.uint8]:
    """Map motion in pixels to bytes.

    Args:
        flow: float32 (..., 2, H, W).
        bound: in pixels; with ``linear``, what lies beyond is clipped.
        method: ``linear`` maps [-bound, bound] to [0, 255] (TSN; TS-LSTM, sec. 3.4.1; bound 20): no motion becomes 128,
            which reads back as bound / 255. ``frame_min_max`` maps the least and greatest value of each component of
            each field to 0 and 255 (TS-LSTM's code); the range is lost, a field of one value becomes 0.
    """
    if method == "frame_min_max":
        return _stretch(flow)
    clipped = np.clip(flow, -bound, bound)
    values: NDArray[np.uint8] = np.rint((clipped + bound) * (LEVELS / (2 * bound))).astype(np.uint8)
    return values


def _stretch(flow: NDArray[np.float32]) -> NDArray[np.uint8]:
    least, greatest = flow.min(axis=(-2, -1), keepdims=True), flow.max(axis=(-2, -1), keepdims=True)
    width = np.where(greatest > least, greatest - least, 1.0)
    values: NDArray[np.uint8] = np.rint((flow - least) / width * LEVELS).astype(np.uint8)
    return values


def dequantize(values: NDArray[np.uint8], bound: float) -> NDArray[np.float32]:
    """Map bytes of the linear map back to pixels in [-bound, bound]; off by at most bound / 255 from the source."""
    return (values.astype(np.float32) * (2 * bound / LEVELS) - bound).astype(np.float32)
