"""An open clip: its packets as FFmpeg's demuxer gives them, checked, and its frames.

What is checked: the file opens and has pictures; no packet is cut off; the file has as many bytes or packets as it
declares; and of each frame what `worker.video.decoding.decoder` checks.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
from av.container.streams import StreamContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from worker.video.decoding.decoder import DecodeFailed, Decoder, Orientation, in_words
from worker.video.decoding.extent import declared_bytes
from worker.video.decoding.limits import LIMITS, Limits
from worker.video.decoding.mpeg4 import NOTHING, layer_in, takes_nothing

__all__ = ["Container", "DecodeFailed"]

WRITTEN_TO_A_PIPE = 1 << 30
"""What FFmpeg says that an AVI holds whose header it cannot go back to."""


class Container:
    """An open clip; use it as a context manager, so that the file and the decoder's threads end with the block.

    Args:
        path: the clip.
        threads: of the decoder; 1 is right where clips are decoded in parallel.
        limits: how large its frames may be.

    Attributes:
        stream: its first video stream but for a cover.
        decoder: of that stream.
    """

    def __init__(self, path: Path, threads: int = 1, limits: Limits = LIMITS) -> None:
        self.path, self._limits = path, limits
        self._threads, self._packets = threads, 0
        self._first_dts: int | None = None

    def __enter__(self) -> Self:
        if self.path.exists() and not self.path.is_file():  # FFmpeg would wait for a pipe, and misname a folder
            raise DecodeFailed(self.path, 0, "not a file")
        try:
            self._file = av.open(str(self.path), options=self._limits.options, metadata_errors="replace")
        except (av.FFmpegError, OSError, ValueError) as error:
            raise DecodeFailed(self.path, 0, in_words(error)) from error
        self._empty_are_left_out = self.format == "avi"
        try:
            self.stream = self._first_stream()
            self._limits.require_frame(self.path, self.stream.width, self.stream.height)
            self.decoder = Decoder(self.path, self.stream.codec_context, self._safe_threads, self._limits.options)
        except DecodeFailed:
            self._file.close()
            raise
        return self

    def _first_stream(self) -> VideoStream:
        """Return the first video stream that is none of a single picture beside the sound, such as a cover."""
        streams = [stream for stream in self._file.streams.video if not stream.disposition & Disposition.attached_pic]
        if not streams:
            raise DecodeFailed(self.path, 0, "no video stream")
        if not streams[0].codec_context:  # its type says that there is one always
            raise DecodeFailed(self.path, 0, "the video stream is of a codec that has no decoder here")
        return streams[0]

    @property
    def _safe_threads(self) -> int:
        """How many threads decode as one does: FFmpeg's do not share the fields of MPEG-4's B pictures."""
        if self.codec != "mpeg4":
            return self._threads
        layer = layer_in(self.stream.codec_context.extradata or b"")
        return self._threads if layer.time_bits and not layer.interlaced else 1

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
        frames = int(self.stream.frames)
        return 0 if self.format == "avi" and frames == WRITTEN_TO_A_PIPE else frames

    @property
    def count(self) -> int:
        """Frames that came out so far."""
        return self.decoder.count

    @property
    def orientation(self) -> Orientation:
        """What the display matrix asks for, known from the first frame on."""
        return self.decoder.orientation

    @property
    def streams(self) -> StreamContainer:
        """All that the file holds."""
        return self._file.streams

    def demux(self) -> Iterator[Any]:
        """Yield the packets of the video stream; the last is an empty one that flushes the decoder.

        They are those of the file, also where one holds several pictures. Those without a single byte, which FFmpeg
        would take for the end, are left out, and so are placeholders of MPEG-4 that are no pictures where it would
        refuse them.

        Raises:
            DecodeFailed: the file ends early, or cannot be read.
        """
        context = self.stream.codec_context
        is_mpeg4 = self.codec == "mpeg4"
        is_known = takes_nothing(str(context.codec_tag), context.extradata or b"")
        try:
            for packet in self._file.demux(self.stream):
                self._count(packet)
                if packet.is_corrupt:
                    raise DecodeFailed(self.path, self.count, "the file is cut off inside a packet")
                if not packet.size and packet.dts is not None:
                    continue
                if is_mpeg4 and not is_known:
                    if packet.size == len(NOTHING) and bytes(packet) == NOTHING:
                        continue
                    is_known = packet.is_keyframe and takes_nothing("", bytes(packet))
                yield packet
            self._require_end()
        except (av.FFmpegError, OSError, ValueError) as error:
            raise DecodeFailed(self.path, self.count, in_words(error)) from error

    def _count(self, packet: Any) -> None:
        """Count a packet, and in an AVI the empty ones before it: the header counts them, FFmpeg leaves them out."""
        self._packets += packet.size > 0 or packet.dts is not None
        if self._empty_are_left_out and packet.dts is not None:
            self._first_dts = packet.dts if self._first_dts is None else self._first_dts
            self._packets = max(self._packets, packet.dts - self._first_dts + 1)

    def _require_end(self) -> None:
        """Refuse a file whose end is not there."""
        if self._packets == self.declared:  # what else the file says of its end is then of no matter
            return
        size, declared = self.path.stat().st_size, declared_bytes(self.format, self.path)
        if size < declared:
            raise DecodeFailed(self.path, self.count, f"the file ends after {size} of {declared} bytes")
        if not declared and self._packets < self._listed:
            reason = f"the file ends after packet {self._packets} of {self._listed}"
            raise DecodeFailed(self.path, self.count, reason)

    @property
    def _listed(self) -> int:
        """Packets by the header; of a MOV or MP4 without those that its edit list leaves out."""
        indexed = len(self.stream.index_entries) if "mp4" in self.format else 0
        return min(self.declared, indexed) if indexed else self.declared

    def frames(self) -> Iterator[av.VideoFrame]:
        """Yield every frame in order of presentation.

        Raises:
            DecodeFailed: when the first bad packet is reached.
        """
        for packet in self.demux():
            yield from self.decoder.decode(packet)
        if self.count == 0:
            raise DecodeFailed(self.path, 0, "no frames")
