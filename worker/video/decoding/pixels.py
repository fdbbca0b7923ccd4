"""Decoded frames as arrays: upright, 8 bits, rgb or grey."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from worker.video.decoding.decoder import UPRIGHT, DecodeFailed, Orientation, in_words

Colour = Literal["rgb", "grey"]
PIXEL_FORMATS: dict[Colour, str] = {"rgb": "rgb24", "grey": "gray"}
CHANNELS: dict[Colour, int] = {"rgb": 3, "grey": 1}


class Converter:
    """Turns decoded frames into arrays, with one scaling context for a whole clip.

    Colours follow the matrix and range that the frame carries; grey is the ITU-R BT.601 luma of the colours, in the
    full range 0 to 255. Ten bits are rounded to eight.

    Args:
        path: the clip, for messages.
        colour: ``rgb`` or ``grey``.
        short_side: to which larger frames are brought, by means over areas; None keeps every size.
    """

    def __init__(self, path: Path, colour: Colour, short_side: int | None = None) -> None:
        self._path, self._format, self._short_side = path, PIXEL_FORMATS[colour], short_side
        self._reformatter = VideoReformatter()
        self._known: set[tuple[str, int, int]] = set()

    def __call__(self, frame: av.VideoFrame, orientation: Orientation, number: int) -> NDArray[np.uint8]:
        """Return frame ``number`` of the clip, brought upright: uint8 (H, W, 3) or (H, W).

        Raises:
            DecodeFailed: FFmpeg converts no such colours, such as those of YCgCo.
        """
        width, height = shrunk(frame.width, frame.height, self._short_side)
        to: dict[str, Any] = {"format": self._format}
        if (width, height) != (frame.width, frame.height):
            to |= {"width": width, "height": height, "interpolation": "AREA"}
        try:
            # One thread: swscale's own cost four times the conversion of a 320x240 frame.
            plane: Any = self._reformatter.reformat(frame, threads=1, **to).planes[0]
        except (av.FFmpegError, OSError, ValueError) as error:
            colours = f"{frame.format.name}, matrix {int(frame.colorspace)}"
            reason = f"its colours ({colours}) cannot be converted: {in_words(error)}"
            raise DecodeFailed(self._path, number, reason) from error
        rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)  # padded at the end
        shape = (height, width) if self._format == "gray" else (height, width, 3)
        image = np.ascontiguousarray(rows[:, : math.prod(shape[1:])]).reshape(shape)
        image = image[:, ::-1] if orientation.mirrored else image
        return np.rot90(image, orientation.turns) if orientation.turns else image

    def check(self, frame: av.VideoFrame, number: int) -> None:
        """Refuse a frame whose colours cannot be converted; of those with equal ones the first is tried.

        Raises:
            DecodeFailed: see the call.
        """
        colours = frame.format.name, int(frame.colorspace), int(frame.color_range)
        if colours not in self._known:
            self(frame, UPRIGHT, number)
            self._known.add(colours)


def shrunk(width: int, height: int, short_side: int | None) -> tuple[int, int]:
    """Return the width and height of frames whose short side is larger than ``short_side``, brought to it."""
    short = min(width, height)
    if short_side is None or short <= short_side:
        return width, height
    return round(width * short_side / short), round(height * short_side / short)
