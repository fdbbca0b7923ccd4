"""Where a clip's packets lie in its file, so that reading some frames again needs no search."""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import av

from worker.video.decoding.container import Container
from worker.video.decoding.decoder import DecodeFailed, Decoder, in_words
from worker.video.decoding.limits import Limits
from worker.video.decoding.order import Packet, Structure

COPIED = ("codec_tag", "extradata", "width", "height", "bits_per_coded_sample", "reorder_depth")
"""What FFmpeg's decoder of MPEG-4 gets from an AVI."""
PREFIX_BYTES = 64  # of a packet, by which its offset is looked for


class Stamp(NamedTuple):
    """By what a changed file is known."""

    device: int
    inode: int
    size: int
    modified_ns: int

    @classmethod
    def of(cls, file: int) -> Self:
        """Return the stamp of an open file."""
        status = os.fstat(file)
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


class FileIndex(NamedTuple):
    """The packets of an AVI file with MPEG-4 video, each found in the file byte for byte.

    Attributes:
        structure: how they hang together.
        offsets: first byte of each.
        sizes: bytes of each.
        stamp: of the file.
        settings: of the decoder, by the names of `COPIED`.
    """

    structure: Structure
    offsets: Sequence[int]
    sizes: Sequence[int]
    stamp: Stamp
    settings: dict[str, Any]

    @classmethod
    def of(cls, container: Container, structure: Structure, packets: Sequence[Packet]) -> Self | None:
        """Return the index of an open clip, or None for another format, or where packets are not found in the file."""
        if container.format != "avi" or container.codec != "mpeg4":
            return None
        with container.path.open("rb") as file:
            stamp, content = Stamp.of(file.fileno()), file.read()
        offsets = array("q")
        end = 0
        for packet in packets:
            data = bytes(packet)
            start = content.find(data[:PREFIX_BYTES], end)
            end = start + len(data)
            if start < 0 or content[start:end] != data:
                return None
            offsets.append(start)
        context = container.stream.codec_context
        settings = {name: getattr(context, name) for name in COPIED}
        return cls(structure, offsets, array("i", [packet.size for packet in packets]), stamp, settings)

    def decoder(self, path: Path, limits: Limits) -> Decoder:
        """Return a new decoder for the clip."""
        context = av.CodecContext.create("mpeg4", "r")
        for name, value in self.settings.items():
            setattr(context, name, value)
        return Decoder(path, context, options=limits.options)

    def packets(self, path: Path, file: int) -> Callable[[int], Packet]:
        """Return a function that reads a packet, given its number, from the open file.

        Raises:
            DecodeFailed: from that function; the file cannot be read, or has become shorter.
        """

        def read(number: int) -> Packet:
            size = self.sizes[number]
            try:
                content = os.pread(file, size, self.offsets[number])
            except OSError as error:
                raise DecodeFailed(path, self.structure.frame_of(number), in_words(error)) from error
            if len(content) < size:
                raise DecodeFailed(path, self.structure.frame_of(number), f"the file ends inside packet {number}")
            packet = av.Packet(size)
            packet.update(content)
            return packet

        return read
