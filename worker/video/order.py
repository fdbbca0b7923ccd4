"""Which packet becomes which frame, read from the bitstream (torch-free).

An AVI holds no presentation times, and what FFmpeg guesses for them is wrong for a part of UCF101's XviD clips with B
pictures. For MPEG-4 part 2 the order follows from the kinds of pictures alone: a B picture is shown as it comes, every
other one when the next of its like comes. `worker.video.inspection` compares this with what the decoder does, clip by
clip.

Some of these clips are packed, as DivX began it: a packet holds two pictures, and a placeholder follows later.
FFmpeg's own filter for that, ``mpeg4_unpack_bframes``, is not used: it takes bytes of a picture for the end of a user
data string and overwrites them (measured with FFmpeg 8.1.2 on an intra-only clip).
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import av

from worker.video.jpeg import tables

VOP_START = b"\x00\x00\x01\xb6"  # ISO/IEC 14496-2, 6.2.5: vop_start_code, then two bits of vop_coding_type
I_VOP, B_VOP = 0b00, 0b10
CODECS = ("mpeg4", "mjpeg")
"""By FFmpeg's names, whose bitstreams are read here."""
PLACEHOLDER_BYTES = 19  # as FFmpeg has it: a packet up to this size behind a packed one holds no picture


Packet = Any
"""PyAV's, generic over streams for its type stubs and not when it runs."""


class Unpacker:
    """Gives each packet of a packed MPEG-4 stream one picture, in order; other packets pass as they are.

    A picture takes the place of the placeholder that comes later. One at the end without a placeholder has no time of
    its own, and is not shown, as FFmpeg does not show it.
    """

    def __init__(self) -> None:
        self._waiting: deque[Packet] = deque()

    def next(self, packet: Packet) -> Packet:
        """Return the packet that takes the place of this one."""
        content = bytes(packet)
        starts = _vop_starts(content)
        if not self._waiting and len(starts) < 2:
            return packet
        if len(starts) >= 2:
            cuts = [0, *starts[1:], len(content)]
            for first, last in pairwise(cuts):
                self._waiting.append(_part(packet, content[first:last], keyframe=packet.is_keyframe and first == 0))
        elif len(content) > PLACEHOLDER_BYTES:
            self._waiting.append(packet)
        picture = self._waiting.popleft()
        picture.dts = packet.dts
        return picture


def _part(packet: Packet, content: bytes, *, keyframe: bool) -> Packet:
    part = av.Packet(len(content))  # FFmpeg's own memory: a decoder reads ahead, and its threads free without the GIL
    part.update(content)
    part.time_base, part.is_keyframe = packet.time_base, keyframe
    return part


class Structure(NamedTuple):
    """How a clip's frames hang together.

    Attributes:
        order: the packet of each frame, in the order in which frames are shown: a permutation.
        entries: packets from which on decoding may begin, ascending; the first is packet 0.
        b_pictures: packets that no other packet needs.
    """

    order: Sequence[int]
    entries: Sequence[int]
    b_pictures: Collection[int]

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
        return place > entry and all(between in self.b_pictures for between in range(entry + 1, place + 1))


def structure(codec: str, packets: Sequence[Packet]) -> Structure | None:
    """Return how the packets of `Container.demux` hang together.

    Returns:
        None for another codec than MPEG-4 part 2 and Motion JPEG, or for packets that do not hold one picture each, or
        that need tables of earlier ones.
    """
    if codec not in CODECS:
        return None
    return _mjpeg(packets) if codec == "mjpeg" else _mpeg4(packets)


def _mjpeg(packets: Sequence[Packet]) -> Structure | None:
    if len({tables(bytes(packet)) for packet in packets}) > 1:
        return None
    return Structure(range(len(packets)), range(len(packets)), frozenset())


def _mpeg4(packets: Sequence[Packet]) -> Structure | None:
    order: list[int] = []
    entries: list[int] = []
    b_pictures: set[int] = set()
    headers, held = b"", -1
    for number, packet in enumerate(packets):
        content = bytes(packet)
        start = content.find(VOP_START)
        if not 0 <= start < len(content) - len(VOP_START):
            return None
        kind = content[start + len(VOP_START)] >> 6
        if kind == B_VOP:
            b_pictures.add(number)
            order.append(number)
            continue
        if number == 0:
            headers = content[:start]
        # The headers say how to decode; only where they are repeated is it the same from here on.
        if number == 0 or (kind == I_VOP and packet.is_keyframe and content[:start] == headers):
            entries.append(number)
        if held >= 0:
            order.append(held)
        held = number
    if held >= 0:
        order.append(held)
    return Structure(array("i", order), array("i", entries), frozenset(b_pictures))


def _vop_starts(content: bytes) -> list[int]:
    starts = []
    start = content.find(VOP_START)
    while 0 <= start < len(content) - 4:
        starts.append(start)
        start = content.find(VOP_START, start + 4)
    return starts
