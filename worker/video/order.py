"""Which packet becomes which frame, read from the bitstream (torch-free).

An AVI holds no presentation times, and what FFmpeg guesses for them is wrong for a part of UCF101's XviD clips with B
pictures. For MPEG-4 part 2 the order follows from the kinds of pictures alone: a B picture is shown as it comes, every
other one when the next of its like comes. `worker.video.inspection` compares this with what the decoder does, clip by
clip.

Some of these clips are packed, as DivX began it: a packet holds two pictures, and a placeholder follows later.
`unpack` gives each packet one picture where it is certain what FFmpeg's decoder does with them. Elsewhere, and wherever
a clip is read from its beginning, that decoder takes the packets as they are. FFmpeg's own filter,
``mpeg4_unpack_bframes``, is not used: it takes bytes of a picture for the end of a user data string and overwrites
them (measured with FFmpeg 8.1.2 on an intra-only clip).
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

import av

from worker.video.jpeg import remarks, tables
from worker.video.mpeg4 import B_VOP, I_VOP, LASTING, PREFIX, VOP_START, PacketReader, Vop, headers_of

CODECS = ("mpeg4", "mjpeg")
"""By FFmpeg's names, whose bitstreams are read here."""

Packet = Any
"""PyAV's, generic over streams for its type stubs and not when it runs."""


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
            return sum(place < packet for place in self.order)
        return self.order.index(packet)

    def runs(self, packets: Iterable[int]) -> list[list[int]]:
        """Return what must be decoded to get the frames of some packets: runs in order, none of which needs another.

        A run begins at an entry and ends with a packet that is wanted. B pictures that nobody wants are left out. One
        just behind an entry leans on what lies before the entry too.
        """
        wanted = set(packets)
        last: dict[int, int] = {}  # packet by the entry from which it is reached
        bridged: set[int] = set()
        for place in sorted(wanted):
            entry = bisect_right(self.entries, place) - 1
            if entry > 0 and self._leans_back(place, self.entries[entry]):
                bridged.add(entry)
                last[entry - 1] = self.entries[entry] - 1
            last[entry] = place
        runs: list[list[int]] = []
        for entry in sorted(last):
            run = [
                place
                for place in range(self.entries[entry], last[entry] + 1)
                if place in wanted or place not in self.b_pictures
            ]
            if entry in bridged:
                runs[-1] += run
            else:
                runs.append(run)
        return runs

    def _leans_back(self, place: int, entry: int) -> bool:
        """Tell whether a picture is shown before the entry that it follows."""
        return place > entry and all(
            between in self.b_pictures or between in self.placeholders for between in range(entry + 1, place + 1)
        )


class Unpacked(NamedTuple):
    """The packets of a clip with one picture in each, as a decoder may get them instead of those of the file.

    Attributes:
        packets: in decoding order; a placeholder is among them only where the decoder reads it.
        carriers: for each, the packet of the file with which FFmpeg's decoder takes it, numbered from 0.
    """

    packets: Sequence[Packet]
    carriers: Sequence[int]


class Pictures(NamedTuple):
    """The pictures of a clip: its unpacked packets, how they hang together, and how they come out of the file's.

    Attributes:
        packets: see `Unpacked`.
        structure: of these.
        shown: for each frame, the packet of the file with which it comes out of FFmpeg's decoder.
    """

    packets: Sequence[Packet]
    structure: Structure
    shown: Sequence[int]


class NotCertain(Exception):
    """What FFmpeg's decoder makes of some packets does not follow from what is read here."""


def pictures(codec: str, extradata: bytes | None, packets: Sequence[Packet]) -> Pictures | None:
    """Return the pictures in all packets of a clip.

    Args:
        codec: FFmpeg's name of the decoder.
        extradata: of the stream.
        packets: that hold something, as they come out of the file.

    Returns:
        None where it is not certain which packets become which frames; see `unpack` and `structure`.
    """
    unpacked = unpack(codec, extradata, packets)
    found = None if unpacked is None else structure(codec, unpacked.packets, extradata)
    if unpacked is None or found is None:
        return None
    return Pictures(unpacked.packets, found, [unpacked.carriers[place] for place in found.order])


def unpack(codec: str, extradata: bytes | None, packets: Sequence[Packet]) -> Unpacked | None:
    """Give each packet of a packed MPEG-4 clip one picture; other packets stay as they are.

    FFmpeg's decoder keeps the second picture of a packet until the next packet, which it then does not read but for a
    B picture that may follow. A picture that waits at the end is not shown. Packets without any picture, as encoders
    write that are late by one, are left out.

    Returns:
        None where pictures get lost in the decoder, or may get lost.
    """
    if codec != "mpeg4":
        return Unpacked(packets, range(len(packets)))
    reader = PacketReader(extradata)
    taken: list[Packet] = []
    carriers = array("i")
    waiting: Packet | None = None
    moved = False  # a picture waits that was not waiting already
    try:
        for number, packet in enumerate(packets):
            content = bytes(packet)
            vops = reader.vops(content)
            if waiting is None:
                now, waiting = _parts(packet, content, vops)
                moved = False
            else:
                now, waiting = waiting, _behind(packet, vops)
                moved = waiting is not None
            if now is not None:
                taken.append(now)
                carriers.append(number)
    except NotCertain:
        return None
    return None if moved else Unpacked(taken, carriers)


def _parts(packet: Packet, content: bytes, vops: Sequence[Vop]) -> tuple[Packet | None, Packet | None]:
    """Return the picture that is decoded with a packet, and the one that waits for the next."""
    if not vops:
        if PREFIX in content:  # headers alone would not be left out
            raise NotCertain
        return None, None
    if len(vops) == 1:
        return packet, None
    first, second = vops[:2]
    between = content.find(PREFIX, first.start + len(VOP_START), second.start) >= 0
    if len(vops) > 2 or between or second.kind != B_VOP or not (first.coded and second.coded):
        raise NotCertain
    keyframe = packet.is_keyframe
    now = _part(packet, content[: second.start], keyframe=keyframe)
    return now, _part(packet, content[second.start :], keyframe=False)


def _behind(packet: Packet, vops: Sequence[Vop]) -> Packet | None:
    """Return what waits in turn when the packet is not read since a picture waited before it."""
    if not any(vop.coded or vop.kind == B_VOP for vop in vops):
        return None
    if len(vops) == 1 and vops[0].coded and vops[0].kind == B_VOP:
        return packet
    raise NotCertain


def _part(packet: Packet, content: bytes, *, keyframe: bool) -> Packet:
    part = av.Packet(len(content))  # FFmpeg's own memory: a decoder reads ahead, and its threads free without the GIL
    part.update(content)
    part.time_base, part.is_keyframe = packet.time_base, keyframe
    return part


def structure(codec: str, packets: Sequence[Packet], extradata: bytes | None = None) -> Structure | None:
    """Return how unpacked packets hang together.

    Returns:
        None for another codec than MPEG-4 part 2 and Motion JPEG, or for packets that do not hold one picture each, or
        of which some may depend on tables or remarks in earlier ones.
    """
    if codec not in CODECS:
        return None
    return _mjpeg(packets) if codec == "mjpeg" else _mpeg4(packets, PacketReader(extradata))


def _mjpeg(packets: Sequence[Packet]) -> Structure | None:
    contents = map(bytes, packets)
    if len({(tables(content), remarks(content)) for content in contents}) > 1:
        return None
    return Structure(range(len(packets)), range(len(packets)), frozenset())


def _mpeg4(packets: Sequence[Packet], reader: PacketReader) -> Structure | None:
    order: list[int] = []
    entries: list[int] = []
    b_pictures: set[int] = set()
    placeholders: set[int] = set()
    first, held, same = b"", -1, True
    for number, packet in enumerate(packets):
        content = bytes(packet)
        vops = reader.vops(content)
        if len(vops) != 1:
            return None
        [vop] = vops
        headers = headers_of(content, vop.start)
        if number == 0:
            first = headers
        # The headers say how to decode; only where they are repeated is it the same from here on.
        same = same and (headers == first or not any(code in headers for code in LASTING))
        if number == 0 or (vop.kind == I_VOP and vop.coded and packet.is_keyframe and same and headers == first):
            entries.append(number)
        if not vop.coded:
            placeholders.add(number)
            continue
        if vop.kind == B_VOP:
            b_pictures.add(number)
            order.append(number)
            continue
        if held >= 0:
            order.append(held)
        held = number
    if held >= 0:
        order.append(held)
    return Structure(array("i", order), array("i", entries), frozenset(b_pictures), frozenset(placeholders))
