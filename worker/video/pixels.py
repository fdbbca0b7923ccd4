"""Decoded frames as arrays: upright, 8 bits, rgb or grey (torch-free)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from worker.video.decoder import DecodeFailed, in_words

Colour = Literal["rgb", "grey"]
PIXEL_FORMATS: dict[Colour, str] = {"rgb": "rgb24", "grey": "gray"}


class Converter:
    """Turns decoded frames into arrays, with one scaling context for a whole clip.

    Colours follow the matrix and range that the frame carries; grey is the ITU-R BT.601 luma of the colours, in the
    full range 0 to 255. Ten bits are rounded to eight.

    Args:
        path: the clip, for messages.
        colour: ``rgb`` or ``grey``.
    """

    def __init__(self, path: Path, colour: Colour) -> None:
        self._path, self._format = path, PIXEL_FORMATS[colour]
        self._reformatter = VideoReformatter()
        self._known: set[tuple[str, int, int]] = set()

    def __call__(self, frame: av.VideoFrame, turns: int, number: int) -> NDArray[np.uint8]:
        """Return frame ``number`` of the clip: uint8 (H, W, 3) or (H, W), turned counter-clockwise by quarters.

        Raises:
            DecodeFailed: FFmpeg converts no such colours, such as those of YCgCo.
        """
        try:
            # One thread: swscale's own cost four times the conversion of a 320x240 frame.
            plane: Any = self._reformatter.reformat(frame, format=self._format, threads=1).planes[0]
        except (av.FFmpegError, OSError, ValueError) as error:
            colours = f"{frame.format.name}, matrix {int(frame.colorspace)}"
            reason = f"its colours ({colours}) cannot be converted: {in_words(error)}"
            raise DecodeFailed(self._path, number, reason) from error
        rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)  # padded at the end
        shape = (frame.height, frame.width) if self._format == "gray" else (frame.height, frame.width, 3)
        image = np.ascontiguousarray(rows[:, : math.prod(shape[1:])]).reshape(shape)
        return np.rot90(image, turns) if turns else image

    def check(self, frame: av.VideoFrame, number: int) -> None:
        """Refuse a frame whose colours cannot be converted; of those with equal ones the first is tried.

        Raises:
            DecodeFailed: see the call.
        """
        colours = frame.format.name, int(frame.colorspace), int(frame.color_range)
        if colours not in self._known:
            self(frame, 0, number)
            self._known.add(colours)
