"""Packets in, checked frames out: every way to lose a frame ends in `DecodeFailed`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import av
import numpy as np
from av.sidedata.sidedata import SideDataContainer

from services.errors import DataError

QUARTER_TURNS = {(1, 0, 0, 1): 0, (0, -1, 1, 0): 1, (-1, 0, 0, -1): 2, (0, 1, -1, 0): 3}
"""Counter-clockwise quarter turns by the signs (a, b, c, d) of a display matrix, row by row."""


class Orientation(NamedTuple):
    """How a frame is brought upright: mirrored left to right first, then turned counter-clockwise by quarters."""

    turns: int = 0
    mirrored: bool = False


UPRIGHT = Orientation()
ORIENTATIONS = {
    **{signs: Orientation(turns) for signs, turns in QUARTER_TURNS.items()},
    **{(-a, -b, c, d): Orientation(turns, mirrored=True) for (a, b, c, d), turns in QUARTER_TURNS.items()},
}
"""By the signs of a display matrix."""

STRICT = {"mjpeg": "explode", "hevc": "explode", "png": "crccheck+explode"}
"""How FFmpeg's decoders treat errors: by default they return damaged frames without a word."""


class DecodeFailed(DataError):
    """A clip that does not decode as a whole.

    Args:
        clip: its path.
        frame: number of the first frame that is missing, from 0.
        reason: why, in words.
    """

    def __init__(self, clip: Path, frame: int, reason: str) -> None:
        super().__init__(f"{clip}: frame {frame}: {reason}")
        self.clip, self.frame, self.reason = clip, frame, reason

    def __reduce__(self) -> tuple[type[DecodeFailed], tuple[Path, int, str]]:
        return DecodeFailed, (self.clip, self.frame, self.reason)  # out of a loader process


class Decoder:
    """Decodes a clip's packets and refuses what is not a whole frame.

    A frame that the decoder concealed after a bitstream error says so, the size must stay, and the display matrix, if
    there is one, must turn by quarters, mirrored or not.

    Args:
        path: the clip, for messages.
        context: FFmpeg's decoder, not yet used.
        threads: of the decoder; 1 is right where clips are decoded in parallel.
        options: of FFmpeg's decoder.

    Attributes:
        count: frames that came out so far.
        frame_of: the frame that a packet becomes, once packets carry their numbers as ``pts``; failures then name it.
        orientation: what the display matrix asks for, known from the first frame on.
    """

    def __init__(
        self, path: Path, context: Any, threads: int = 1, options: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self.path, self.count, self.orientation = path, 0, UPRIGHT
        self.frame_of: Callable[[int], int] | None = None
        self._context = context
        self._size: tuple[int, int] | None = None
        context.thread_count = threads
        strict = {"err_detect": STRICT[context.name]} if context.name in STRICT else {}
        context.options = {**context.options, **strict, **options}
        if threads > 1:
            context.thread_type = "FRAME"

    def decode(self, packet: Any | None) -> Iterator[av.VideoFrame]:
        """Yield the checked frames that come out for a packet, or for the end of the clip (None).

        Raises:
            DecodeFailed: the packet does not decode, or decodes to something other than a whole frame.
        """
        try:
            frames = self._context.decode(packet)
        except (av.FFmpegError, OSError, ValueError) as error:
            larger = ", as of a frame larger than the header says" if isinstance(error, av.ArgumentError) else ""
            raise DecodeFailed(self.path, self._number(packet), in_words(error) + larger) from error
        for frame in frames:
            self._check(frame)
            yield frame
            self.count += 1

    def _check(self, frame: av.VideoFrame) -> None:
        size = frame.width, frame.height
        if self._size is None:
            self._size, self.orientation = size, self._orientation(frame)
        if frame.is_corrupt:
            raise DecodeFailed(self.path, self._number(frame), "corrupt data")
        if size != self._size:
            raise DecodeFailed(self.path, self._number(frame), f"size changes from {self._size} to {size}")

    def _number(self, carrier: Any | None) -> int:
        """Return the number of the frame that a packet becomes, or that came out."""
        if self.frame_of is None or carrier is None or carrier.pts is None:
            return self.count
        return self.frame_of(carrier.pts)

    def _orientation(self, frame: av.VideoFrame) -> Orientation:
        # Not frame.side_data: frame and container would keep each other, and with them all of the decoder's memory.
        side_data: Any = SideDataContainer  # whose type stubs lack the argument
        matrix = side_data(frame).get("DISPLAYMATRIX")
        if matrix is None:
            return UPRIGHT
        a, b, _, c, d = np.sign(np.frombuffer(bytes(matrix), np.int32)[:5]).tolist()
        # FFmpeg's matrix maps rows (x, y) by (a, b; c, d), y downwards: (0, 1, -1, 0) turns clockwise.
        orientation = ORIENTATIONS.get((a, b, c, d))
        if orientation is None:
            raise DecodeFailed(self.path, 0, f"display matrix skews: signs {a}, {b}, {c}, {d}")
        return orientation


def in_words(error: Exception) -> str:
    """Return what went wrong in FFmpeg or the system."""
    return getattr(error, "strerror", None) or str(error)
