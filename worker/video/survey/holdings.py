"""What a file holds beside the frames that are read, and what FFmpeg's programs would choose or change.

Facts of the containers: a MOV or MP4 has an edit list of its video track (``edts/elst``), which FFmpeg's demuxer
follows, and a clean aperture (``clap``); Matroska has the like of that as ``PixelCrop...``. FFmpeg's programs cut
frames down to them, its libraries do not.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import av
from av.sidedata.sidedata import SideDataContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from services.words import counted
from worker.video.decoding.container import Container

SIDE_DATA = {
    "A53_CC": "closed captions",
    "AFD": "an active format description",
    "DOVI_METADATA": "Dolby Vision",
    "DYNAMIC_HDR_PLUS": "HDR10+",
    "ICC_PROFILE": "an ICC profile, which is not applied",
    "PANSCAN": "pan and scan",
    "SPHERICAL": "a spherical picture",
    "STEREO3D": "two pictures for two eyes in a frame",
}
"""By FFmpeg's names, what a frame may say of itself."""
HDR = {16: "PQ", 18: "HLG"}  # transfer characteristics by ITU-T H.273, table 3
DEFAULT_SCORE = 5_000_000  # pixels that a stream marked as default may lack, `ffmpeg_mux_init.c`
MOVIE_BYTES = 64 << 20  # of a movie box that is looked into
CROPPING_IDS = {0x54AA: "bottom", 0x54BB: "top", 0x54CC: "left", 0x54DD: "right"}  # Matroska, RFC 9559
MASTERS = {0x18538067, 0x1654AE6B, 0xAE, 0xE0}  # segment, tracks, a track, its video
CLUSTER = 0x1F43B675  # where pictures begin


class Holdings(NamedTuple):
    """What a file holds beside the frames that are read.

    Attributes:
        audio: each stream's codec, samples a second and channels.
        others: all other streams, in words.
        pixel_aspect: width to height of a pixel.
        pixel_format: FFmpeg's name.
        notes: what FFmpeg's programs would choose or change, in words.
    """

    audio: tuple[str, ...]
    others: tuple[str, ...]
    pixel_aspect: str
    pixel_format: str
    notes: tuple[str, ...]


def holdings(container: Container, first: av.VideoFrame, frames: int) -> Holdings:
    """Say what an open clip holds, by its headers and its first frame.

    Args:
        container: the clip.
        first: its first frame.
        frames: how many it has.
    """
    streams = container.streams
    aspect = container.stream.sample_aspect_ratio or container.stream.codec_context.sample_aspect_ratio
    return Holdings(
        audio=tuple(_audio(stream) for stream in streams.audio),
        others=tuple(_other(stream) for stream in streams if stream is not container.stream and stream.type != "audio"),
        pixel_aspect=f"{aspect.numerator}:{aspect.denominator}" if aspect else "1:1",
        pixel_format=first.format.name,
        notes=(*_choice(container), *_frame(first), *_file(container, frames)),
    )


def _audio(stream: Any) -> str:
    context = stream.codec_context
    if context is None:
        return "audio without a decoder"
    return f"{context.name} {context.sample_rate} Hz {context.layout.name or f'{context.channels} channels'}"


def _other(stream: Any) -> str:
    context = getattr(stream, "codec_context", None)
    codec = "" if context is None else f" {context.name}"
    if stream.type == "video":
        size = "" if context is None else f" {context.width}x{context.height}"
        picture = stream.disposition & Disposition.attached_pic
        return f"{'attached picture' if picture else 'video'}{codec}{size}"
    return f"{stream.type}{codec}"


def _choice(container: Container) -> Iterator[str]:
    """Say which stream FFmpeg's programs would take, by size and disposition (`ffmpeg`); we take the first."""
    pictures = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    best = max(pictures, key=_score)
    if best is not container.stream:
        yield f"FFmpeg's programs take stream {best.index} ({_other(best)}), here it is {container.stream.index}"


def _score(stream: VideoStream) -> int:
    pixels = stream.width * stream.height if stream.codec_context else 0
    return pixels + DEFAULT_SCORE * bool(stream.disposition & Disposition.default)


def _frame(first: av.VideoFrame) -> Iterator[str]:
    if any(component.is_alpha for component in first.format.components):
        yield "an alpha channel, which is left out"
    if int(first.color_trc) in HDR:
        yield f"high dynamic range ({HDR[int(first.color_trc)]}), read without tone mapping"
    side_data: Any = SideDataContainer  # whose type stubs lack the argument; not first.side_data, which would keep it
    yield from (SIDE_DATA[kind] for kind in sorted(side.type.name for side in side_data(first)) if kind in SIDE_DATA)


def _file(container: Container, frames: int) -> Iterator[str]:
    """Say what the container's headers ask for."""
    if "mp4" in container.format:
        movie = _movie(container.path)
        parts = _edits(movie)
        if parts > 1 or (parts and container.declared not in (0, frames)):
            read = f"of {container.declared} frames {frames} are read"
            yield f"an edit list ({counted(parts, 'part')}), which is followed: {read}"
        if b"clap" in movie:
            yield "a clean aperture, to which frames are not cut"
    if "matroska" in container.format:
        with container.path.open("rb") as file:
            sides = {side: pixels for side, pixels in _cropping(file, container.path.stat().st_size) if pixels}
        if sides:
            words = ", ".join(f"{side} {pixels}" for side, pixels in sorted(sides.items()))
            yield f"cropping ({words} pixels), which is not applied"


def _movie(path: Path) -> bytes:
    """Return the content of the movie box, which describes the tracks."""
    with path.open("rb") as file:
        while len(head := file.read(8)) == 8:
            size, kind = struct.unpack(">I4s", head)
            if size == 1:
                size = int.from_bytes(file.read(8)) - 8
            if kind == b"moov":
                return file.read(min(size - 8, MOVIE_BYTES))
            if size < 8:
                break
            file.seek(size - 8, 1)
    return b""


def _boxes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    offset = 0
    while offset + 8 <= len(content):
        size, kind = struct.unpack_from(">I4s", content, offset)
        if size < 8:
            return
        yield kind, content[offset + 8 : offset + size]
        offset += size


def _inside(content: bytes, *kinds: bytes) -> bytes:
    """Return the content of a box in a box; nothing where there is none."""
    for kind in kinds:
        content = next((inner for name, inner in _boxes(content) if name == kind), b"")
    return content


def _edits(movie: bytes) -> int:
    """Return of how many parts the edit list of the video track is."""
    for kind, track in _boxes(movie):
        if kind == b"trak" and _inside(track, b"mdia", b"hdlr")[8:12] == b"vide":
            return int.from_bytes(_inside(track, b"edts", b"elst")[4:8])
    return 0


def _cropping(file: BinaryIO, end: int) -> Iterator[tuple[str, int]]:
    """Yield what is cut off each side by the headers of a Matroska file."""
    while file.tell() < end:
        kind, size = _id(file), _size(file)
        if kind in (None, CLUSTER) or size is None:
            return
        if kind in CROPPING_IDS:
            yield CROPPING_IDS[kind], int.from_bytes(file.read(min(size, 8)))
        elif kind not in MASTERS:
            file.seek(size, 1)


def _id(file: BinaryIO) -> int | None:
    first = file.read(1)
    length = 9 - first[0].bit_length() if first else 9
    return int.from_bytes(first + file.read(length - 1)) if length <= 4 else None


def _size(file: BinaryIO) -> int | None:
    first = file.read(1)
    length = 9 - first[0].bit_length() if first else 9
    if length > 8:
        return None
    return int.from_bytes(first + file.read(length - 1)) & ((1 << 7 * length) - 1)
