"""Flow as bytes: the papers' linear map of +-bound pixels, and TS-LSTM's scaling of each field by its own range."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from services.specs import FlowQuantization

LEVELS = 255
Array = TypeVar("Array")


def quantize(flow: NDArray[np.float32], bound: float, method: FlowQuantization = "linear") -> NDArray[np.uint8]:
    """Map motion in pixels to bytes.

    Args:
        flow: float32 (..., 2, H, W).
        bound: in pixels; with ``linear``, what lies beyond is clipped.
        method: ``linear`` maps [-bound, bound] to [0, 255] (TSN; TS-LSTM, sec. 3.4.1; bound 20): no motion becomes 128,
            which reads back as bound / 255. ``frame_min_max`` maps the least and greatest value of each component of
            each field to 0 and 255 (TS-LSTM's code); the range is lost, a field of one value becomes 0.
    """
    values: NDArray[np.uint8] = to_levels(flow, bound, method, np).astype(np.uint8)
    return values


def to_levels(flow: Array, bound: float, method: FlowQuantization, library: Any) -> Array:
    """Map motion to whole numbers from 0 to 255, still floats, as `quantize` says; a tensor stays on its device.

    Args:
        flow: (..., 2, H, W).
        bound: see `quantize`.
        method: see `quantize`.
        library: whose array the flow is: ``numpy`` or ``torch``.
    """
    levels: Array
    if method == "linear":
        levels = library.round((library.clip(flow, -bound, bound) + bound) * (LEVELS / (2 * bound)))
        return levels
    least, greatest = (pick(flow, (-2, -1), keepdims=True) for pick in (library.amin, library.amax))
    width = library.where(greatest > least, greatest - least, 1.0)
    levels = library.round((flow - least) / width * LEVELS)
    return levels
