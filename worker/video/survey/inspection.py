"""What a clip holds, found by decoding it from end to end: the facts of a manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
from av.sidedata.sidedata import SideDataContainer
from pydantic import BaseModel, ConfigDict

from worker.video.decoding.container import Container
from worker.video.decoding.decoder import DecodeFailed
from worker.video.decoding.limits import LIMITS, Limits
from worker.video.decoding.order import CODECS, pictures
from worker.video.decoding.pixels import Converter
from worker.video.survey.holdings import holdings

READING = 3
"""Raised when our own code takes another clip for damaged, or reads other frames."""
DECODER = (
    f"pyav {av.__version__}, libavcodec {'.'.join(map(str, av.library_versions['libavcodec']))}, reading {READING}"
)
"""What decodes here; another version may decode other bytes, so that what is known and stored of clips is made anew."""
FACTS = 2
"""Raised when more is found out about a clip, so that what was known of it is completed."""
UNEVEN = 1.5  # intervals between frames that differ by more time units than rounding explains
CHUNK_BYTES = 1 << 20  # hashed at once
PACKET_BYTES = 256 << 20

Timing = Literal["constant", "variable", "unordered", "none"]


class ClipInfo(BaseModel):
    """What a clip holds.

    Attributes:
        frames: how many decode.
        fps: average rate by the header, 0.0 where it does not say.
        width: of the upright picture, in pixels.
        height: likewise.
        declared: frames by the header, 0 where it does not say.
        codec: FFmpeg's name of the decoder.
        turns: counter-clockwise quarter turns that were applied.
        mirrored: left and right were changed, before the turns.
        interlaced: some frame says so; its two fields come woven.
        timing: of the frames: at a constant rate, at a variable one, with timestamps that fall or repeat, or without.
        paired: packets and frames are known to pair off, and how one decodes depends on no picture but those that it
            shows, so that `FrameReader` may leave out what is not wanted.
        pixel_aspect: width to height of a pixel, ``1:1`` where the file does not say; frames are as they are stored.
        pixel_format: FFmpeg's name.
        audio: codec, samples a second and channels of each audio stream.
        others: all further streams, in words: video, attached pictures, data, subtitles.
        notes: what FFmpeg's programs would choose or change, in words.
    """

    model_config = ConfigDict(frozen=True)

    frames: int
    fps: float
    width: int
    height: int
    declared: int = 0
    codec: str = ""
    turns: int = 0
    mirrored: bool = False
    interlaced: bool = False
    timing: Timing = "constant"
    paired: bool = False
    pixel_aspect: str = "1:1"
    pixel_format: str = ""
    audio: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def differences(self) -> tuple[str, ...]:
        """Why FFmpeg's programs would show other pictures than are read here, in words."""
        square = self.pixel_aspect == "1:1"
        return self.notes if square else (f"pixels of {self.pixel_aspect}, read as square ones", *self.notes)


class Inspection(ClipInfo):
    """What a clip holds, with what its file and its decoder are.

    Attributes:
        sha256: of the file's bytes.
        size: bytes of the file.
        decoder: name and version of what decoded it.
    """

    sha256: str
    size: int
    decoder: str = DECODER


def _ignore(_: int) -> None:
    """Do nothing with a count."""


def inspect_clip(
    path: Path,
    on_frame: Callable[[int], None] = _ignore,
    on_bytes: Callable[[int], None] = _ignore,
    limits: Limits = LIMITS,
) -> Inspection:
    """Hash a clip and decode it from end to end; see `probe_clip`.

    Args:
        path: the clip.
        on_frame: called with the number of frames so far, after each.
        on_bytes: called with the number of bytes hashed so far, some thousand times a gigabyte.
        limits: how large its frames may be.

    Raises:
        DecodeFailed: also when the file cannot be read.
    """
    info = probe_clip(path, on_frame, limits)
    digest, size = hashlib.sha256(), 0
    try:
        with path.open("rb", buffering=0) as file:
            while part := file.read(CHUNK_BYTES):
                digest.update(part)
                size += len(part)
                on_bytes(size)
    except OSError as error:
        raise DecodeFailed(path, 0, str(error)) from error
    return Inspection(sha256=digest.hexdigest(), size=size, **info.model_dump())


def probe_clip(
    path: Path,
    on_frame: Callable[[int], None] = _ignore,
    limits: Limits = LIMITS,
    packet_bytes: int = PACKET_BYTES,
) -> ClipInfo:
    """Decode a clip from end to end, converting a frame of each kind of colours, and say what it holds.

    Args:
        path: the clip.
        on_frame: called with the number of frames so far, after each.
        limits: how large its frames may be.
        packet_bytes: of packets that are held to see how they hang together; a larger clip does not count as paired.

    Raises:
        DecodeFailed: frames are too large, any frame does not decode, the file is cut short, or it holds no picture.
    """
    with Container(path, limits=limits) as container:
        packets: list[Any] = []  # of a codec whose bitstream is read
        times: list[tuple[int | None, int | None]] = []
        shown: list[int] = []
        codec, converter = container.codec, Converter(path, "rgb")
        interlaced, size, first, num_bytes = False, (0, 0), None, 0
        for packet in container.demux():
            pts, packet.pts = packet.pts, len(times)  # comes out with the frame
            if packet.size:
                times.append((pts, packet.dts))
                num_bytes += packet.size
                packets += [packet] if codec in CODECS and num_bytes <= packet_bytes else []
            for frame in container.decoder.decode(packet):
                shown.append(-1 if frame.pts is None else frame.pts)
                first = first or frame
                _require_same_matrix(path, len(shown) - 1, first, frame)
                interlaced = interlaced or bool(frame.interlaced_frame)
                size = frame.width, frame.height
                converter.check(frame, container.count)
                on_frame(len(shown))
        if first is None:
            raise DecodeFailed(path, 0, "no frames")
        orientation = container.orientation
        width, height = size if orientation.turns % 2 == 0 else size[::-1]
        extradata = container.stream.codec_context.extradata
        found = pictures(codec, extradata, packets) if num_bytes <= packet_bytes else None
        return ClipInfo(
            frames=container.count,
            fps=container.rate,
            width=width,
            height=height,
            declared=container.declared,
            codec=codec,
            **orientation._asdict(),
            interlaced=interlaced,
            timing=_timing(_times(container.format, times, shown)),
            # FFmpeg measures the fields of an interlaced clip's B pictures by the first of them all.
            paired=found is not None and list(found.shown) == shown and not (interlaced and found.structure.b_pictures),
            **holdings(container, first, container.count)._asdict(),
        )


def _require_same_matrix(path: Path, number: int, first: av.VideoFrame, frame: av.VideoFrame) -> None:
    """Refuse a clip that turns or mirrors its frames from some frame on: all are read as the first one says."""
    side_data: Any = SideDataContainer  # see `worker.video.decoding.decoder`
    before, now = (side_data(one).get("DISPLAYMATRIX") for one in (first, frame))
    if (before and bytes(before)) != (now and bytes(now)):
        raise DecodeFailed(path, number, "its display matrix changes")


def _times(file_format: str, times: list[tuple[int | None, int | None]], shown: list[int]) -> list[int | None]:
    """Return the time of each frame; an AVI has those of its packets only, which FFmpeg calls decoding times."""
    if file_format == "avi":
        return [decoded for _, decoded in times]
    return [times[number][0] if 0 <= number < len(times) else None for number in shown]


def _timing(times: list[int | None]) -> Timing:
    if any(time is None for time in times):
        return "none"
    steps = np.diff(np.array(times, dtype=np.int64))
    if (steps <= 0).any():
        return "unordered"
    return "variable" if len(steps) and np.ptp(steps) > UNEVEN else "constant"
