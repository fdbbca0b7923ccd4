"""Dense optical flow by OpenCV on a CPU, one pair of grey frames at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from services.specs import FlowAlgorithm

Grey = NDArray[np.uint8]
Field = NDArray[np.float32]
Estimator = Callable[[Grey, Grey], Field]
SMALLEST_SIDE: Mapping[FlowAlgorithm, int] = {"dis": 16}
"""Pixels that frames must have in both directions: fewer OpenCV (5.0) refuses, or crashes where they are wide."""


def estimator(algorithm: FlowAlgorithm) -> Estimator:
    """Return a function from two grey frames, uint8 (H, W), to the motion between them.

    The motion is float32 (2, H, W) in pixels: x to the right, then y downwards. ``tvl1`` is Zach et al. 2007 with
    OpenCV's defaults (TS-LSTM's code), ``farneback`` Farneback 2003 with the values of OpenCV's tutorial, ``dis``
    Kroeger et al. 2016 with the preset "medium". The function is deterministic, and holds buffers: give each thread
    its own.
    """
    if algorithm == "tvl1":
        return _from_object(cv2.optflow.DualTVL1OpticalFlow_create())  # type: ignore[attr-defined]
    if algorithm == "dis":
        return _from_object(cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM))  # type: ignore[attr-defined]
    if algorithm == "farneback":
        return _farneback
    raise ValueError(f"flow algorithm: got {algorithm!r}, allowed on a CPU: 'tvl1', 'farneback', 'dis'")


def _from_object(method: cv2.DenseOpticalFlow) -> Estimator:
    def estimate(first: Grey, second: Grey) -> Field:
        least = SMALLEST_SIDE["dis"] if isinstance(method, cv2.DISOpticalFlow) else 1
        if min(first.shape) < least:
            raise ValueError(f"frames: got {first.shape[1]}x{first.shape[0]}, allowed for dis: {least}x{least} or more")
        return _channels_first(method.calc(first, second, None))  # type: ignore[call-overload]

    return estimate


def _farneback(first: Grey, second: Grey) -> Field:
    return _channels_first(
        cv2.calcOpticalFlowFarneback(  # type: ignore[call-overload]
            first, second, None, pyr_scale=0.5, levels=3, winsize=15, iterations=3, poly_n=5, poly_sigma=1.2, flags=0
        )
    )


def _channels_first(flow: NDArray[np.float32]) -> Field:
    return np.ascontiguousarray(flow.transpose(2, 0, 1), dtype=np.float32)


def optical_flow(frames: Iterable[Grey], algorithm: FlowAlgorithm) -> Iterator[Field]:
    """Yield the T - 1 fields of T grey frames: float32 (2, H, W) in pixels per frame, one pair of frames in memory."""
    estimate = estimator(algorithm)
    for first, second in pairwise(frames):
        yield estimate(first, second)
