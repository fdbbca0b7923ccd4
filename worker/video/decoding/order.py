"""Which packet becomes which frame, read from the bitstream.

An AVI holds no presentation times, and what FFmpeg guesses for them is wrong for a part of UCF101's XviD clips with B
pictures. For MPEG-4 part 2 the order follows from the kinds of pictures alone: a B picture is shown as it comes, every
other one when the next of its like comes. `worker.video.survey.inspection` compares this with what the decoder does,
clip by clip.

Some of these clips are packed, two pictures in a packet: `worker.video.decoding.unpack` takes them apart if it can.
Elsewhere, and wherever a clip is read from its beginning, FFmpeg's decoder takes the packets as they are.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from worker.video.decoding.jpeg import remarks, tables
from worker.video.decoding.mpeg4 import B_VOP, I_VOP, LASTING
from worker.video.decoding.unpack import NotCertain, Packet, Picture, unpack

__all__ = ["CODECS", "Packet", "Pictures", "Structure", "pictures", "structure"]

CODECS = ("mpeg4", "mjpeg")
"""By FFmpeg's names, whose bitstreams are read here."""


class Structure(NamedTuple):
    """How a clip's frames hang together.

    Attributes:
        order: the packet of each frame, in the order in which frames are shown; each packet once, placeholders never.
        entries: packets from which on decoding may begin, ascending; the first is packet 0.
        b_pictures: packets that no other packet needs.
        placeholders: packets that become no frame, and that the decoder reads for the times in them.
    """

    order: Sequence[int]
    entries: Sequence[int]
    b_pictures: Collection[int]
    placeholders: Collection[int] = frozenset()

    def frame_of(self, packet: int) -> int:
        """Return the frame that a packet becomes; for a placeholder, how many frames the packets before it become."""
        if packet in self.placeholders:
            return sum(other < packet for other in self.order)
        return self.order.index(packet)

    def runs(self, packets: Iterable[int]) -> list[list[int]]:
        """Return what must be decoded to get the frames of some packets: runs in order, none of which needs another.

        A run begins at an entry and ends with a packet that is wanted. B pictures that are not wanted are left out. One
        just after an entry leans on what lies before the entry too.
        """
        wanted = set(packets)
        last: dict[int, int] = {}  # packet by the entry from which it is reached
        bridged: set[int] = set()
        for packet in sorted(wanted):
            entry = bisect_right(self.entries, packet) - 1
            if entry > 0 and self._leans_back(packet, self.entries[entry]):
                bridged.add(entry)
                last[entry - 1] = self.entries[entry] - 1
            last[entry] = packet
        runs: list[list[int]] = []
        for entry in sorted(last):
            run = [
                packet
                for packet in range(self.entries[entry], last[entry] + 1)
                if packet in wanted or packet not in self.b_pictures
            ]
            if entry in bridged:
                runs[-1] += run
            else:
                runs.append(run)
        return runs

    def _leans_back(self, packet: int, entry: int) -> bool:
        """Return whether a picture is shown before the entry that it follows."""
        return packet > entry and all(
            between in self.b_pictures or between in self.placeholders for between in range(entry + 1, packet + 1)
        )


class Pictures(NamedTuple):
    """The pictures of a clip.

    Attributes:
        packets: of one picture each, as a decoder may get them instead of those of the file.
        structure: of these.
        shown: for each frame, the packet of the file with which it comes out of FFmpeg's decoder, numbered from 0.
    """

    packets: Sequence[Packet]
    structure: Structure
    shown: Sequence[int]


def pictures(codec: str, extradata: bytes | None, packets: Sequence[Packet]) -> Pictures | None:
    """Return the pictures in all packets of a clip.

    Args:
        codec: FFmpeg's name of the decoder.
        extradata: of the stream.
        packets: that hold something, as they come out of the file.

    Returns:
        None where it is not certain which packets become which frames, or which frames need which packets.
    """
    if codec != "mpeg4":
        found = structure(codec, packets)
        return None if found is None else Pictures(packets, found, found.order)
    try:
        unpacked = unpack(extradata, packets)
    except NotCertain:
        return None
    found = _mpeg4(unpacked)
    shown = array("i", [unpacked[number].carrier for number in found.order])
    return Pictures([picture.packet for picture in unpacked], found, shown)


def structure(codec: str, packets: Sequence[Packet], extradata: bytes | None = None) -> Structure | None:
    """Return how packets hang together that need not be unpacked.

    Returns:
        None for another codec than MPEG-4 part 2 and Motion JPEG, or for packets that do not hold one picture each, or
        of which some may depend on tables or remarks in earlier ones.
    """
    if codec == "mjpeg":
        return _mjpeg(packets)
    try:
        unpacked = unpack(extradata, packets) if codec == "mpeg4" else []
    except NotCertain:
        return None
    return _mpeg4(unpacked) if codec == "mpeg4" and len(unpacked) == len(packets) else None


def _mjpeg(packets: Sequence[Packet]) -> Structure | None:
    contents = map(bytes, packets)
    if len({(tables(content), remarks(content)) for content in contents}) > 1:
        return None
    return Structure(range(len(packets)), range(len(packets)), frozenset())


def _mpeg4(unpacked: Sequence[Picture]) -> Structure:
    order: list[int] = []
    entries: list[int] = []
    b_pictures: set[int] = set()
    placeholders: set[int] = set()
    first = unpacked[0].headers if unpacked else b""
    held, same = -1, True
    for number, (packet, _, (_, kind, coded), headers) in enumerate(unpacked):
        # The headers say how to decode; only where they are repeated is it the same from here on.
        if headers and headers != first:
            same = same and not any(code in headers for code in LASTING)
        if number == 0 or (kind == I_VOP and coded and same and headers == first and packet.is_keyframe):
            entries.append(number)
        if not coded:
            placeholders.add(number)
        elif kind == B_VOP:
            b_pictures.add(number)
            order.append(number)
        else:
            order += [held] * (held >= 0)
            held = number
    order += [held] * (held >= 0)
    return Structure(array("i", order), array("i", entries), frozenset(b_pictures), frozenset(placeholders))
