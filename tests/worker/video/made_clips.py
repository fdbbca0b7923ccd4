"""Clips that are made for a test: pictures of some size of motion, encoded, packed, muxed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import av
import numpy as np
import pytest
from hypothesis import event, settings
from numpy.typing import NDArray

from worker.video.decoding.decode import Colour, DecodeFailed, FrameReader, decode_clip
from worker.video.decoding.limits import LIMITS, Limits
from worker.video.survey.inspection import ClipInfo, probe_clip

Frames = NDArray[np.uint8]
Motion = Literal["still", "lamp", "bars", "noise"]
RATE = 25
CASES = int(os.environ.get("PROPERTY_CASES", "0"))
"""How many cases of each property are tried; 0 for the few of a test run."""
VOP_START, GROUP_START = b"\x00\x00\x01\xb6", b"\x00\x00\x01\xb3"
NOTHING = b"\x7f"
"""What encoders that are late by a picture write at first."""
PACKED, XVID = b"\x00\x00\x01\xb2DivX503b1393p", b"\x00\x00\x01\xb2XviD0064"
B_PICTURE = 0b10


def pictures(count: int, motion: Motion, size: tuple[int, int] = (32, 48), seed: int = 0) -> Frames:
    """Return uint8 (count, H, W, 3): nothing moves, a lamp blinks, bars move, or all of it changes."""
    rng = np.random.default_rng(seed)
    height, width = size
    blocks = rng.integers(0, 256, (count, -(-height // 8), -(-width // 8), 3)).astype(np.uint8)
    if motion == "bars":
        places = np.arange(width)[None, :] - 2 * np.arange(count)[:, None]
        rows = np.rint(127.5 + 100 * np.sin(places / 3)).astype(np.uint8)
        return rows[:, None, :, None].repeat(height, 1).repeat(3, 3)
    images = blocks.repeat(8, 1).repeat(8, 2)[:, :height, :width]
    if motion != "noise":
        images[:] = images[0]
    if motion == "lamp":
        images[::3, 4:12, 4:12] = 255
    return images


def encode(
    path: Path,
    codec: str,
    options: dict[str, str],
    pixels: str,
    images: Frames,
    times: Sequence[int],
    muxing: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Write images at times in twenty-fifths of a second; the last time is the end."""
    with av.open(str(path), "w", options=dict(muxing)) as container:
        stream: Any = container.add_stream(codec, rate=RATE, options=options)
        stream.height, stream.width, stream.pix_fmt = *images.shape[1:3], pixels
        stream.codec_context.thread_count = 1
        for frame in [*frames_of(images, times), None]:
            for packet in stream.encode(frame):
                packet.duration = times[-1] - times[-2]
                container.mux(packet)


def frames_of(images: Frames, times: Iterable[int]) -> list[av.VideoFrame]:
    """Return frames at times in twenty-fifths of a second."""
    frames = []
    for image, time in zip(images, times, strict=False):
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame.pts, frame.time_base = time, Fraction(1, RATE)
        frames.append(frame)
    return frames


def mpeg4(images: Frames, *, b_pictures: int = 0, group: int = 12, marks: bytes = PACKED + XVID) -> list[bytes]:
    """Return packets of MPEG-4 part 2 in decoding order, with user data as XviD writes them."""
    context: Any = av.CodecContext.create("mpeg4", "w")
    context.width, context.height, context.pix_fmt = images.shape[2], images.shape[1], "yuv420p"
    context.time_base, context.framerate = Fraction(1, RATE), Fraction(RATE)
    context.options = {"bf": str(b_pictures), "g": str(group), "flags": "+bitexact", "b_strategy": "0"}
    packets = [packet for frame in [*frames_of(images, range(len(images))), None] for packet in context.encode(frame)]
    return [bytes(packet).replace(GROUP_START, marks + GROUP_START) for packet in packets]


def kind_of(packet: bytes) -> int:
    """Return vop_coding_type of the first picture."""
    return packet[packet.index(VOP_START) + len(VOP_START)] >> 6


def placeholder(number: int = 0, kind: int = 0b01) -> bytes:
    """Return a picture that is not coded: kind, no second has passed, marker, 5 bits of time, marker, not coded."""
    bits = f"{kind:02b}" + "0" + "1" + f"{number % RATE:05b}" + "1" + "0"
    return VOP_START + int(bits + "0" + "1" * (16 - len(bits) - 1), 2).to_bytes(2)


def packed(packets: Iterable[bytes], empty: bytes) -> list[bytes]:
    """Pack as XviD does: the first B picture behind the picture that it needs, a placeholder after the last of them."""
    found: list[bytes] = []
    run = 0
    for packet in packets:
        if kind_of(packet) == B_PICTURE:
            run += 1
            found[-1:] = [found[-1] + packet] if run == 1 else [found[-1], packet]
            continue
        found += [empty] * (run > 0) + [packet]
        run = 0
    return found + [empty] * (run > 0)


def write_packets(path: Path, packets: Sequence[bytes], tag: str = "XVID", size: tuple[int, int] = (32, 48)) -> None:
    """Mux packets of MPEG-4 part 2 as they are, the intra ones as keyframes."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("mpeg4", rate=RATE, options={"flags": "+bitexact"})
        stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        if path.suffix == ".avi":
            stream.codec_context.codec_tag = tag
        container.start_encoding()
        for number, content in enumerate(packets):
            packet = av.Packet(content)
            packet.pts = packet.dts = number
            packet.time_base, packet.stream = Fraction(1, RATE), stream
            packet.is_keyframe = VOP_START in content and kind_of(content) == 0
            container.mux(packet)


class NotWhole(Exception):
    """PyAV does not decode a clip without an error, or says itself of a frame that it is damaged."""


def plain(path: Path) -> Frames:
    """Return every frame as PyAV gives them by itself: uint8 (T, H, W, 3).

    Raises:
        NotWhole: see there.
    """
    images = []
    try:
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                if frame.is_corrupt:
                    raise NotWhole(f"frame {len(images)} is damaged")
                images.append(frame.to_ndarray(format="rgb24"))
    except (av.FFmpegError, EOFError) as error:
        raise NotWhole(f"frame {len(images)}: {error}") from error
    if not images:
        raise NotWhole("no frames")
    return np.stack(images)


def decode_frames(
    path: Path,
    frames: Sequence[int],
    colour: Colour = "rgb",
    *,
    paired: bool = False,
    threads: int = 1,
    limits: Limits = LIMITS,
) -> Frames:
    """Return chosen frames of a clip that is read for the first time."""
    return FrameReader(threads=threads, limits=limits).read(path, frames, colour, paired=paired)


def assert_as_plain(path: Path) -> ClipInfo:
    """Assert that every way of reading gives the frames of plain PyAV; return what the probe says."""
    frames = plain(path)
    info = probe_clip(path)
    assert info.frames == len(frames)
    for threads in (1, 2):
        np.testing.assert_array_equal(decode_clip(path, threads=threads), frames)
        reader = FrameReader(threads=threads)
        for chosen in ([len(frames) - 1], [0, len(frames) // 2], list(range(0, len(frames), 3)), range(len(frames))):
            np.testing.assert_array_equal(reader.read(path, list(chosen), paired=info.paired), frames[list(chosen)])
    return info


def assert_as_plain_or_refused(path: Path) -> None:
    """Assert what `assert_as_plain` does, or that a clip is refused in which plain PyAV sees something wrong itself."""
    try:
        plain(path)
    except NotWhole:
        event("not whole by PyAV")
        with pytest.raises(DecodeFailed):
            probe_clip(path)
    else:
        event("read at random" if assert_as_plain(path).paired else "read from its beginning")


def many(examples: int) -> settings:
    """Return settings of a property: so many examples, always the same; or as many as asked for, new ones each time."""
    return (
        settings(max_examples=CASES, derandomize=False, print_blob=True) if CASES else settings(max_examples=examples)
    )


NUMBERED = 20
"""Frames of a clip that `write_numbered` makes."""


def write_numbered(path: Path, codec: str, times: list[int] | None = None, **options: str) -> None:
    """Write frames of brightness 12 times their number, at times in twenty-fifths of a second."""
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.height, stream.width, stream.pix_fmt = 32, 48, pixels
        for number, time in enumerate(times or range(NUMBERED)):
            frame = av.VideoFrame.from_ndarray(np.full((32, 48, 3), 12 * number, np.uint8), format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def numbers_of(path: Path) -> list[int]:
    """Return the number of each frame by its brightness."""
    return [round(value / 12) for value in decode_clip(path).mean(axis=(1, 2, 3)).tolist()]
