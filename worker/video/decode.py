"""How frames come out of a clip: PyAV and the FFmpeg that it ships (torch-free).

A clip either yields exactly the frames that it holds, in order of presentation, or raises `DecodeFailed`. The header's
frame count is never believed: UCF101's ``v_YoYo_g11_c04.avi`` declares 195 frames and holds 194. It only serves to
notice a file that was cut short, whose packets are fewer than declared.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Literal, NamedTuple

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from services.errors import DataError

Colour = Literal["rgb", "grey"]
PIXEL_FORMATS: dict[Colour, str] = {"rgb": "rgb24", "grey": "gray"}


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


class ClipInfo(NamedTuple):
    """What a clip holds: decoded frames, average frames per second (0.0 if unknown), size in pixels."""

    frames: int
    fps: float
    width: int
    height: int


def probe_clip(path: Path) -> ClipInfo:
    """Decode a clip from end to end, converting nothing, and say what it holds.

    Raises:
        DecodeFailed: any frame does not decode, the file is cut short, or it holds no picture.
    """
    frames, width, height, fps = 0, 0, 0, 0.0
    with closing(_decoded(path)) as decoded:
        for frame, rate in decoded:
            frames += 1
            width, height, fps = frame.width, frame.height, rate
    return ClipInfo(frames, fps, width, height)


def iterate_frames(path: Path, colour: Colour = "rgb") -> Iterator[NDArray[np.uint8]]:
    """Yield every frame of a clip in order: uint8 (H, W, 3), or (H, W) for grey, which has the full range 0 to 255.

    Raises:
        DecodeFailed: as `probe_clip`, when the bad place is reached.
    """
    convert = _Converter(colour)
    with closing(_decoded(path)) as decoded:
        for frame, _ in decoded:
            yield convert(frame)


def decode_clip(path: Path, colour: Colour = "rgb") -> NDArray[np.uint8]:
    """Return every frame of a clip: uint8 (T, H, W, 3), or (T, H, W) for grey.

    Raises:
        DecodeFailed: as `probe_clip`.
    """
    return np.stack(list(iterate_frames(path, colour)))


def decode_frames(path: Path, frames: Sequence[int], colour: Colour = "rgb") -> NDArray[np.uint8]:
    """Return chosen frames, in the given order, repeats allowed; what lies behind the last of them is not decoded.

    Args:
        path: the clip.
        frames: N >= 1 frame numbers, from 0.
        colour: ``rgb`` or ``grey``.

    Returns:
        uint8 (N, H, W, 3), or (N, H, W) for grey.

    Raises:
        DecodeFailed: a chosen frame, or one before it, does not decode or does not exist.
        ValueError: no frame was chosen, or a negative one.
    """
    if not frames or min(frames) < 0:
        raise ValueError(f"frames: got {list(frames)}, allowed: one or more numbers from 0")
    wanted, last = set(frames), max(frames)
    images: dict[int, NDArray[np.uint8]] = {}
    convert = _Converter(colour)
    number = -1
    with closing(_decoded(path)) as decoded:
        for number, (frame, _) in enumerate(decoded):
            if number in wanted:
                images[number] = convert(frame)
            if number == last:
                return np.stack([images[chosen] for chosen in frames])
    raise DecodeFailed(path, last, f"the clip has {number + 1} frames")


class _Converter:
    """Turns decoded frames into arrays, with one scaling context for a whole clip."""

    def __init__(self, colour: Colour) -> None:
        self._format = PIXEL_FORMATS[colour]
        self._reformatter = VideoReformatter()

    def __call__(self, frame: av.VideoFrame) -> NDArray[np.uint8]:
        image = self._reformatter.reformat(frame, format=self._format).to_ndarray()
        return image.astype(np.uint8, copy=False)


def _decoded(path: Path) -> Generator[tuple[av.VideoFrame, float]]:
    """Yield frames with the clip's average rate; every way to lose one ends in `DecodeFailed`."""
    count = 0
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            if not container.streams.video:
                raise DecodeFailed(path, 0, "no video stream")
            stream = container.streams.video[0]
            rate = float(stream.average_rate or 0.0)
            size: tuple[int, int] | None = None
            for frame in _frames_of(path, container, stream):
                size = size or (frame.width, frame.height)
                _check(path, count, frame, size)
                yield frame, rate
                count += 1
    except (av.FFmpegError, OSError, ValueError) as error:
        raise DecodeFailed(path, count, getattr(error, "strerror", None) or str(error)) from error
    if count == 0:
        raise DecodeFailed(path, 0, "no frames")


def _frames_of(path: Path, container: Any, stream: Any) -> Iterator[av.VideoFrame]:
    packets = frames = 0
    for packet in container.demux(stream):
        packets += packet.size > 0 or packet.dts is not None  # the last packet is an empty one that flushes the decoder
        if packet.is_corrupt:
            raise DecodeFailed(path, frames, "the file is cut off inside a packet")
        for frame in packet.decode():
            yield frame
            frames += 1
    if packets < stream.frames:
        raise DecodeFailed(path, frames, f"the file ends after packet {packets} of {stream.frames}")


def _check(path: Path, number: int, frame: av.VideoFrame, size: tuple[int, int]) -> None:
    if frame.is_corrupt:
        raise DecodeFailed(path, number, "corrupt data")
    if (frame.width, frame.height) != size:
        raise DecodeFailed(path, number, f"size changes from {size} to {(frame.width, frame.height)}")
