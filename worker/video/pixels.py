"""Decoded frames as arrays: upright, 8 bits, rgb or grey (torch-free)."""

from __future__ import annotations

import math
from typing import Any, Literal

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

Colour = Literal["rgb", "grey"]
PIXEL_FORMATS: dict[Colour, str] = {"rgb": "rgb24", "grey": "gray"}


class Converter:
    """Turns decoded frames into arrays, with one scaling context for a whole clip.

    Colours follow the matrix and range that the frame carries; grey is the ITU-R BT.601 luma of the colours, in the
    full range 0 to 255. Ten bits are rounded to eight.

    Args:
        colour: ``rgb`` or ``grey``.
    """

    def __init__(self, colour: Colour) -> None:
        self._format = PIXEL_FORMATS[colour]
        self._reformatter = VideoReformatter()

    def __call__(self, frame: av.VideoFrame, turns: int) -> NDArray[np.uint8]:
        """Return uint8 (H, W, 3) or (H, W), turned counter-clockwise by ``turns`` quarters."""
        # One thread: swscale's own cost four times the conversion of a 320x240 frame.
        plane: Any = self._reformatter.reformat(frame, format=self._format, threads=1).planes[0]
        rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)  # padded at the end
        shape = (frame.height, frame.width) if self._format == "gray" else (frame.height, frame.width, 3)
        image = np.ascontiguousarray(rows[:, : math.prod(shape[1:])]).reshape(shape)
        return np.rot90(image, turns) if turns else image
