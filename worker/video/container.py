"""A clip's frames as FFmpeg gives them, checked: every way to lose one ends in `DecodeFailed` (torch-free).

What is checked: the file opens and has pictures; no packet is cut off; no frame was concealed after a bitstream error
(the decoder says so in the frame); the size stays; the display matrix, if there is one, is a quarter turn; and the file
has as many packets as it declares.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
import numpy as np

from services.errors import DataError
from worker.video.order import Unpacker

QUARTER_TURNS = {(1, 0, 0, 1): 0, (0, -1, 1, 0): 1, (-1, 0, 0, -1): 2, (0, 1, -1, 0): 3}
"""Counter-clockwise quarter turns by the signs (a, b, c, d) of a display matrix, row by row."""


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


class Container:
    """An open clip; use it as a context manager, so that the file and the decoder's threads end with the block.

    Args:
        path: the clip.
        threads: of the decoder; 1 is right where clips are decoded in parallel.

    Attributes:
        stream: its first video stream.
        count: frames that came out so far.
        turns: counter-clockwise quarter turns that the display matrix asks for, known from the first frame on.
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        self.path, self.count, self.turns, self.packets = path, 0, 0, 0
        self._threads = threads
        self._size: tuple[int, int] | None = None

    def __enter__(self) -> Self:
        try:
            self._file = av.open(str(self.path), metadata_errors="replace")
        except (av.FFmpegError, OSError, ValueError) as error:
            raise DecodeFailed(self.path, 0, _words(error)) from error
        if not self._file.streams.video:
            self._file.close()
            raise DecodeFailed(self.path, 0, "no video stream")
        self.stream = self._file.streams.video[0]
        if self._threads > 1:
            self.stream.thread_type, self.stream.codec_context.thread_count = "FRAME", self._threads
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    @property
    def rate(self) -> float:
        """Average frames per second by the header, 0.0 where it does not say."""
        return float(self.stream.average_rate or 0.0)

    @property
    def format(self) -> str:
        """FFmpeg's name of the file format, such as ``avi``."""
        return str(self._file.format.name)

    @property
    def codec(self) -> str:
        """FFmpeg's name of the decoder, such as ``mpeg4``."""
        return str(self.stream.codec_context.name)

    @property
    def declared(self) -> int:
        """Frames by the header, 0 where it does not say; never believed."""
        return int(self.stream.frames)

    def demux(self) -> Iterator[Any]:
        """Yield the packets of the video stream; the last is an empty one that flushes the decoder.

        MPEG-4 that packs a B picture behind another picture, as many clips of UCF101 do, comes unpacked.

        Raises:
            DecodeFailed: the file ends early, or cannot be read.
        """
        unpacker = Unpacker() if self.codec == "mpeg4" else None
        try:
            for packet in self._file.demux(self.stream):
                self.packets += packet.size > 0 or packet.dts is not None
                if packet.is_corrupt:
                    raise DecodeFailed(self.path, self.count, "the file is cut off inside a packet")
                yield packet if unpacker is None or not packet.size else unpacker.next(packet)
        except (av.FFmpegError, OSError, ValueError) as error:
            raise DecodeFailed(self.path, self.count, _words(error)) from error
        if self.packets < self.declared:
            reason = f"the file ends after packet {self.packets} of {self.declared}"
            raise DecodeFailed(self.path, self.count, reason)

    def decode(self, packet: Any | None) -> Iterator[av.VideoFrame]:
        """Yield the checked frames that come out for a packet, or for the end of the clip (None).

        Raises:
            DecodeFailed: the packet does not decode, or decodes to something other than a whole frame.
        """
        try:
            frames = self.stream.codec_context.decode(packet)
        except (av.FFmpegError, OSError, ValueError) as error:
            raise DecodeFailed(self.path, self.count, _words(error)) from error
        for frame in frames:
            self._check(frame)
            yield frame
            self.count += 1

    def frames(self) -> Iterator[av.VideoFrame]:
        """Yield every frame in order of presentation.

        Raises:
            DecodeFailed: when the bad place is reached.
        """
        for packet in self.demux():
            yield from self.decode(packet)
        if self.count == 0:
            raise DecodeFailed(self.path, 0, "no frames")

    def _check(self, frame: av.VideoFrame) -> None:
        size = frame.width, frame.height
        if self._size is None:
            self._size, self.turns = size, self._quarter_turns(frame)
        if frame.is_corrupt:
            raise DecodeFailed(self.path, self.count, "corrupt data")
        if size != self._size:
            raise DecodeFailed(self.path, self.count, f"size changes from {self._size} to {size}")

    def _quarter_turns(self, frame: av.VideoFrame) -> int:
        matrix: Any = frame.side_data.get("DISPLAYMATRIX")
        if matrix is None:
            return 0
        a, b, _, c, d = np.sign(np.frombuffer(bytes(matrix), np.int32)[:5]).tolist()
        # FFmpeg's matrix maps rows (x, y) by (a, b; c, d), y downwards: (0, 1, -1, 0) turns clockwise.
        turns = QUARTER_TURNS.get((a, b, c, d))
        if turns is None:
            raise DecodeFailed(self.path, 0, f"display matrix mirrors or skews: signs {a}, {b}, {c}, {d}")
        return turns


def _words(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
